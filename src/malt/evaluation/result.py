"""What a run of a metric found, one number a video, and what several runs say together: means with 95 % intervals.

Numbers of single videos are resampled (bootstrap over the videos of all seeds); numbers of a whole set of videos, such as
a Frechet distance, have one value a seed and a normal (Student) interval over seeds, none for a single seed.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, TypedDict

import numpy as np
from scipy import stats

Over = Literal["videos", "seeds"]
RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line of a chart: the samples at every x."""

    chart: str
    line: str
    x: list[float]
    samples: list[list[float]]
    over: Over = "videos"


class StoredCurve(TypedDict):
    """A `Curve` as JSON has it."""

    chart: str
    line: str
    x: list[float]
    samples: list[list[float]]
    over: Over


class StoredResult(TypedDict):
    """A `MetricResult` as JSON has it."""

    samples: dict[str, list[float]]
    whole: dict[str, float]
    ratios: dict[str, list[list[str]]]
    curves: list[StoredCurve]
    notes: list[str]


class Figure(TypedDict):
    """A number with its 95 % interval, of how many videos or seeds; None where there is none."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    seeds: int
    over: Over


class CurvePoint(Figure):
    """A figure at one place of a curve."""

    x: float


class JoinedCurve(TypedDict):
    """A line of a chart, of all seeds."""

    chart: str
    line: str
    points: list[CurvePoint]


class Summary(TypedDict):
    """What runs with different seeds say together."""

    figures: dict[str, Figure]
    curves: list[JoinedCurve]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """What one run found. samples: one number a video. whole: one number for all. ratios: names of `samples` whose
    means are multiplied, and of those by whose means the product is divided. notes: what a reader must know."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: StoredResult) -> "MetricResult":
        """The result that `as_dict` stored."""
        return cls(
            samples=stored["samples"],
            whole=stored["whole"],
            ratios={name: (pair[0], pair[1]) for name, pair in stored["ratios"].items()},
            curves=[Curve(**curve) for curve in stored["curves"]],
            notes=stored["notes"],
        )


def summarise(outcomes: Sequence[MetricResult]) -> Summary:
    """What runs with different seeds say together: figures, curves and notes, ready for JSON."""
    num = len(outcomes)
    samples = {name: _pool([run.samples.get(name, []) for run in outcomes]) for name in _names(outcomes, "samples")}
    whole = {name: [run.whole[name] for run in outcomes if name in run.whole] for name in _names(outcomes, "whole")}
    figures = {name: _of_videos(values, num) for name, values in samples.items()}
    figures |= {name: _of_seeds(values) for name, values in whole.items()}
    ratios = {name: pair for run in outcomes for name, pair in run.ratios.items()}
    for name, (up, down) in ratios.items():
        figures[name] = _of_ratio([samples[key] for key in up], [samples[key] for key in down], num)
    notes = list(dict.fromkeys(note for run in outcomes for note in run.notes))
    return {"figures": figures, "curves": _curves(outcomes), "notes": notes}


def _names(outcomes: Sequence[MetricResult], part: str) -> list[str]:
    return list(dict.fromkeys(name for run in outcomes for name in getattr(run, part)))


def _pool(lists: list[list[float]]) -> list[float]:
    return [value for values in lists for value in values]


def _of_videos(values: list[float], seeds: int) -> Figure:
    """Mean of the videos' numbers, with a bootstrap interval."""
    if not values:
        return _figure(None, None, 0, seeds, "videos")
    drawn = np.asarray(values)[_draws(len(values))].mean(1)
    return _figure(float(np.mean(values)), drawn, len(values), seeds, "videos")


def _of_ratio(up: list[list[float]], down: list[list[float]], seeds: int) -> Figure:
    """Product of means over product of means, with a bootstrap interval in which all come from the same videos."""
    num = len(up[0])
    if num == 0 or any(len(values) != num for values in up + down) or any(np.mean(values) == 0 for values in down):
        return _figure(None, None, num, seeds, "videos")
    draws = _draws(num)
    above, below = (np.prod([np.asarray(each)[draws].mean(1) for each in lists], axis=0) for lists in (up, down))
    mean = np.prod([np.mean(values) for values in up]) / np.prod([np.mean(values) for values in down])
    return _figure(float(mean), above[below != 0] / below[below != 0], num, seeds, "videos")


def _of_seeds(values: list[float]) -> Figure:
    """Mean of the seeds' numbers, with Student's interval."""
    mean, num = float(np.mean(values)), len(values)
    if num < 2:
        return _figure(mean, None, num, num, "seeds")
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * np.std(values, ddof=1) / math.sqrt(num))
    return _figure(mean, np.asarray([mean - half, mean + half]), num, num, "seeds", ends=True)


def _figure(
    mean: float | None, drawn: np.ndarray | None, num: int, seeds: int, over: Over, *, ends: bool = False
) -> Figure:
    """A number with its interval; `drawn` are resampled means, or with `ends` the interval itself."""
    low, high = None, None
    if drawn is not None and num > 1 and len(drawn):
        tail = 0.0 if ends else 100 * (1 - CONFIDENCE) / 2
        low, high = (float(value) for value in np.percentile(drawn, [tail, 100 - tail]))
    return {"mean": mean, "low": low, "high": high, "n": num, "seeds": seeds, "over": over}


def _draws(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(num, size=(RESAMPLES, num))


def _curves(outcomes: Sequence[MetricResult]) -> list[JoinedCurve]:
    """The runs' curves joined, point by point."""
    joined: dict[tuple[str, str, Over], dict[float, list[float]]] = {}
    for curve in (curve for run in outcomes for curve in run.curves):
        points = joined.setdefault((curve.chart, curve.line, curve.over), {})
        for x, values in zip(curve.x, curve.samples, strict=True):
            points.setdefault(x, []).extend(values)
    return [
        {
            "chart": chart,
            "line": line,
            "points": [{"x": x, **_point(points[x], len(outcomes), over)} for x in sorted(points)],
        }
        for (chart, line, over), points in joined.items()
    ]


def _point(values: list[float], seeds: int, over: Over) -> Figure:
    return _of_seeds(values) if over == "seeds" and values else _of_videos(values, seeds)
