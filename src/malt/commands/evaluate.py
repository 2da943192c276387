"""`malt evaluate`: what a model's long videos are worth, as figures, and as a page with charts and videos."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from malt.commands.checks import check_count
from malt.commands.model_options import load_model
from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from malt.evaluation.evaluated_model import EvaluatedModel
    from malt.evaluation.evaluation_run import EvaluationRun
    from malt.evaluation.metrics.base import Metric
    from malt.pipelines.video_pipeline import VideoPipeline
    from malt.worlds.base import World

SHOWN = {True: (3, 128), False: (6, 512)}  # videos on the page, and their frames; the first where it must be quick
ACTING = "It takes actions, which nobody takes in this world: only prediction, boundaries and cost say anything of its videos."
STRANGE = (
    "It never learned this world, whose words it does not know: only boundaries and cost say anything of its videos, "
    "and how they look."
)
USUAL = "recall,drift,frechet,prediction,boundaries,cost"


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """Measure how well a model's long videos hold up; a stopped evaluation goes on where it was."""

    checkpoint: Annotated[Path | None, Positional("CHECKPOINT")] = None
    """A model that comes with the package, by its name (such as maze), or the folder of one; the default model by default."""
    rollouts: str = "malt"
    """Ways to make a long video, separated by commas: malt, full, sliding_window, keyframes, diffusion_forcing."""
    metrics: str = USUAL
    """What to measure, separated by commas: recall, drift, frechet, prediction, boundaries, cost, fvd."""
    world: str | None = None
    """The world whose captions are asked for and whose own videos are compared with; the default model's by default."""
    out: Path = Path("evaluation")
    """Folder for results.json, index.html and videos/; what is there already is not measured again."""
    quick: bool = False
    """Few and short videos: under five minutes on two cores for the default model."""
    seeds: int = 1
    """How many times everything is measured, each time with other videos."""
    count: int | None = None
    """How many videos each metric looks at, for each seed; each metric's own number by default."""
    frames: int | None = None
    """How long the long videos are; 1024 by default, 512 with --quick."""
    captions: Literal["nothing", "some", "everything"] = "some"
    """How much the captions of drift name; what they do not, a memory alone must hold."""
    i3d: Path | None = None
    """The I3D network's TorchScript file, for --metrics fvd."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1."""
    threads: int | None = None
    """How many processor threads to use."""

    def run(self) -> None:
        """Check, load the model, measure what is missing, and write the page."""
        from malt.worlds.registry import open_world

        with interruptible():
            world = open_world(self.world)
            metrics = self._check(world)
            pipe = load_model(self._folder(), device=self.device, threads=self.threads)
            self._measure(world, pipe, metrics)

    def _check(self, world: "World") -> "list[Metric]":
        from malt.evaluation.registry import Extent, build_metrics, known_name
        from malt.rollouts.registry import ROLLOUTS

        for option in ("seeds", "count", "frames", "threads"):
            check_count(f"--{option}", getattr(self, option))
        self._folder()
        for name in _names(self.rollouts, "--rollouts"):
            known_name(name, ROLLOUTS, "rollout")
        extent = Extent(
            world=world, quick=self.quick, count=self.count, frames=self.frames, i3d=self.i3d, naming=self.captions
        )
        return build_metrics(_names(self.metrics, "--metrics"), extent)

    def _folder(self) -> Path:
        """Where the model is."""
        from malt.pipelines.packaged import default_checkpoint, packaged_models

        if self.checkpoint is None or self.checkpoint.is_dir():
            return self.checkpoint or default_checkpoint()
        packaged = packaged_models()
        if str(self.checkpoint) not in packaged:
            raise UsageError(
                f"there is no checkpoint folder {self.checkpoint}; give one with model_index.json, or {', '.join(packaged)}"
            )
        return packaged[str(self.checkpoint)]

    def _measure(self, world: "World", pipe: "VideoPipeline", metrics: "list[Metric]") -> None:
        from malt.evaluation.checkpoint_hash import checkpoint_sha256
        from malt.evaluation.evaluated_model import evaluated_model_of
        from malt.evaluation.evaluation_run import EvaluationRun

        path = self._folder()
        identity = {"checkpoint": path.name, "sha256": checkpoint_sha256(path)}
        counted = _Counted()
        models: list[EvaluatedModel] = [
            evaluated_model_of(pipe, name, identity=identity, tell=counted.add)
            for name in _names(self.rollouts, "--rollouts")
        ]
        run = EvaluationRun(world=world, models=models, metrics=metrics, seeds=self.seeds, folder=self.out)
        run.begin()
        try:
            with _progress() as progress:
                counted.show_on(progress)
                self._run_all(run, progress, _remark(world, pipe))
        except KeyboardInterrupt:
            print(f"malt: stopped; what was measured is kept in {self.out}, the same command goes on", file=sys.stderr)
            raise
        print(
            f"malt: open {self.out / 'index.html'} to judge; the figures are in {self.out / 'results.json'}",
            file=sys.stderr,
        )

    def _run_all(self, run: "EvaluationRun", progress: "Progress", remark: str) -> None:
        """Videos first, then every run that is missing; the page is written anew after each, with a remark on the model."""
        from malt.evaluation.report.side_by_side import show

        num_shown, num_frames = SHOWN[self.quick]
        todo = run.pending()
        bar = progress.add_task("videos to look at", total=len(todo) + 1, frames="")
        for name in show(run.world, run.models, self.out / "videos", num_shown, num_frames):
            progress.update(bar, description=f"videos of {name}")
        self._publish(run, remark)
        progress.advance(bar)
        for task in todo:
            progress.update(bar, description=f"{task.metric.name} of {task.model.name}, seed {task.seed}")
            run.run(task)
            self._publish(run, remark)
            progress.advance(bar)

    def _publish(self, run: "EvaluationRun", remark: str) -> None:
        """Write results.json and the page of what there is."""
        from malt.evaluation.evaluation_run import write_json, write_text
        from malt.evaluation.report.html_page import write_page
        from malt.evaluation.report.side_by_side import table

        results = run.results()
        write_json(self.out / "results.json", {"command": ["malt", *sys.argv[1:]], **results})
        videos = table(run.world, run.models, self.out / "videos", SHOWN[self.quick][0])
        write_text(self.out / "index.html", write_page(results, videos, self._heading(run, remark)))

    def _heading(self, run: "EvaluationRun", remark: str) -> str:
        model = "The default model" if self.checkpoint is None else f"The model {self.checkpoint.name}"
        ways = ", ".join(each.name for each in run.models)
        left = len(run.pending())
        state = f"; {left} of {len(run.tasks())} runs are still missing" if left else ""
        quick = "; a quick look at few videos, so mind the intervals" if self.quick else ""
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return f"{model} in the world {run.world.name}, by {ways}; {seeds}{quick}{state}. {remark}".rstrip()


class _Counted:
    """Shows on the bar how many frames have been made."""

    def __init__(self) -> None:
        self._frames = 0
        self._progress: Progress | None = None

    def show_on(self, progress: "Progress") -> None:
        self._progress = progress

    def add(self, frames: int) -> None:
        self._frames += frames
        if self._progress is not None:
            for task in self._progress.task_ids:
                self._progress.update(task, frames=f"{self._frames:,} frames made")


def _remark(world: "World", pipe: "VideoPipeline") -> str:
    """What the figures of a model that does not make this world's videos are worth; nothing of one that does."""
    from malt.evaluation.reference import acts_in

    if pipe.action_names and not acts_in(world, pipe.action_names):
        return ACTING
    return STRANGE if pipe.unknown_words(" ".join(world.words)) else ""


def _names(given: str, option: str) -> list[str]:
    """The names in a list with commas, each once."""
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise UsageError(f"nothing was given as {option}; give names separated by commas")
    return names


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    made = TextColumn("{task.fields[frames]}")
    return Progress(*columns, made, console=Console(stderr=True))
