"""Every model by every metric with every seed; each finished run is kept, so that a stopped evaluation goes on."""

import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import torch

from malt.errors import MaltError, UsageError
from malt.evaluation.evaluated_model import EvaluatedModel
from malt.evaluation.metrics.base import Metric
from malt.evaluation.result import Figure, JoinedCurve, MetricResult, StoredResult, summarise
from malt.media.files import write_whole
from malt.sessions.run_report import versions
from malt.worlds.base import Better, World


class StoredRun(TypedDict):
    """What is kept of one run of a metric."""

    settings: dict[str, object]
    seconds: float
    outcome: StoredResult


class StoredSpec(TypedDict):
    """A `FigureSpec` as JSON has it."""

    words: str
    better: Better | None
    percent: bool


class StoredAxes(TypedDict):
    """The `Axes` of a chart as JSON has them."""

    x: str
    y: str
    log_x: bool


class MetricDescription(TypedDict):
    """What a reader needs to know of a metric."""

    says: str
    headlines: dict[str, StoredSpec]
    axes: dict[str, StoredAxes]


class MeasuredMetric(TypedDict):
    """What a metric found of one model, over all seeds."""

    settings: dict[str, object]
    seconds: float
    figures: dict[str, Figure]
    curves: list[JoinedCurve]
    notes: list[str]


class MeasuredModel(TypedDict):
    """What was found of one model."""

    identity: dict[str, object]
    metrics: dict[str, MeasuredMetric]


class Results(TypedDict):
    """Everything that an evaluation found, as it is written to results.json."""

    versions: dict[str, str]
    machine: dict[str, int | str | None]
    intervals: str
    world: str
    metrics: dict[str, MetricDescription]
    subjects: dict[str, MeasuredModel]


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """One run of a metric."""

    model: EvaluatedModel
    metric: Metric
    seed: int


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """What is measured of which models, with which world's videos, and the folder in which it is kept."""

    world: World
    models: Sequence[EvaluatedModel]
    metrics: Sequence[Metric]
    seeds: int
    folder: Path

    def check(self) -> None:
        """Find out, before any work, whether the folder can take this run.

        Raises:
            UsageError: it is a file or somebody else's folder, or holds runs of another checkpoint or with other settings.
        """
        for model in self.models:
            if not re.fullmatch(r"[\w.-]+", model.name):
                raise UsageError(f"{model.name!r} cannot name a folder; use letters, digits, dots and dashes")
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file; name a folder for the figures")
        if self.folder.is_dir() and any(self.folder.iterdir()) and not self._runs.is_dir():
            raise UsageError(
                f"{self.folder} holds something else; name an empty folder or that of an earlier evaluation"
            )
        for model in self.models:
            about = self._runs / model.name / "about.json"
            if about.is_file() and _read(about) != _plain(self._about(model)):
                raise UsageError(
                    f"{self.folder} holds figures of another checkpoint or world for {model.name}; name another folder"
                )
        for task in self.tasks():
            if self.is_done(task) and _read_run(self.path(task))["settings"] != _plain(task.metric.settings()):
                raise UsageError(
                    f"{self.folder} holds {task.metric.name} with other settings; name another folder, or ask as before"
                )

    def begin(self) -> None:
        """Check, and note in the folder whose figures it is for."""
        self.check()
        for model in self.models:
            write_json(self._runs / model.name / "about.json", self._about(model))

    def tasks(self) -> list[EvaluationTask]:
        """All runs, seed after seed, so that a first picture is there early."""
        return [
            EvaluationTask(model=model, metric=metric, seed=seed)
            for seed in range(self.seeds)
            for metric in self.metrics
            for model in self.models
        ]

    def pending(self) -> list[EvaluationTask]:
        """The runs that are not there yet."""
        return [task for task in self.tasks() if not self.is_done(task)]

    def is_done(self, task: EvaluationTask) -> bool:
        """Whether a run is kept already."""
        return self.path(task).is_file()

    def path(self, task: EvaluationTask) -> Path:
        """Where a run is kept."""
        return self._runs / task.model.name / task.metric.name / f"{task.seed}.json"

    def run(self, task: EvaluationTask) -> None:
        """Run a metric and keep what it found."""
        began = time.perf_counter()
        outcome = task.metric.run(task.model, task.seed)
        seconds = round(time.perf_counter() - began, 2)
        settings = task.metric.settings()
        write_json(self.path(task), {"settings": settings, "seconds": seconds, "outcome": outcome.as_dict()})

    def results(self) -> Results:
        """Everything found so far, summed up over seeds."""
        return {
            "versions": versions(),
            "machine": {
                "processors": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "system": platform.platform(),
            },
            "intervals": "95 %: a bootstrap over videos, or Student's t over seeds for a figure of a whole set of videos",
            "world": self.world.name,
            "metrics": {metric.name: _described(metric) for metric in self.metrics},
            "subjects": {model.name: self._of_model(model) for model in self.models},
        }

    def _of_model(self, model: EvaluatedModel) -> MeasuredModel:
        found: dict[str, MeasuredMetric] = {}
        for metric in self.metrics:
            tasks = [EvaluationTask(model=model, metric=metric, seed=seed) for seed in range(self.seeds)]
            runs = [_read_run(self.path(task)) for task in tasks if self.is_done(task)]
            if runs:
                outcomes = [MetricResult.from_dict(run["outcome"]) for run in runs]
                found[metric.name] = {
                    "settings": runs[0]["settings"],
                    "seconds": sum(run["seconds"] for run in runs),
                    **summarise(outcomes),
                }
        return {"identity": model.identity, "metrics": found}

    def _about(self, model: EvaluatedModel) -> dict[str, object]:
        return {"world": self.world.name} | model.identity

    @property
    def _runs(self) -> Path:
        return self.folder / "runs"


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON whole or not at all, and make the folders it needs."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, and make the folders it needs.

    Raises:
        MaltError: it cannot be written, as on a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise MaltError(f"could not write {path} ({error.strerror}); make room or choose another place") from error


def _described(metric: Metric) -> MetricDescription:
    headlines: dict[str, StoredSpec] = {
        name: {"words": spec.words, "better": spec.better, "percent": spec.percent}
        for name, spec in metric.headlines.items()
    }
    axes: dict[str, StoredAxes] = {
        name: {"x": each.x, "y": each.y, "log_x": each.log_x} for name, each in metric.axes.items()
    }
    return {"says": metric.says, "headlines": headlines, "axes": axes}


def _plain(value: Mapping[str, object]) -> object:
    """The value as it comes back from JSON: tuples are lists."""
    plain: object = json.loads(json.dumps(value))
    return plain


def _read_run(path: Path) -> StoredRun:
    return cast(StoredRun, _read(path))


def _read(path: Path) -> object:
    try:
        stored: object = json.loads(path.read_text())
        return stored
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged; remove it and it is measured again") from error
