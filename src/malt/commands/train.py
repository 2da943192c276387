"""`malt train`: from nothing, or from a folder of videos, to a model that `malt generate --checkpoint` takes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.checks import check_count, check_seed
from malt.commands.model_options import choose_device, silence_libraries
from malt.commands.option import Positional, Rest
from malt.errors import UsageError
from malt.threads import use_threads

if TYPE_CHECKING:
    from malt.training.config import Experiment

FROM_VIDEOS = ("videos", "drive", "ucf101", "kinetics600", "distill-adapter")
Overrides = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train an autoencoder and a transformer by a recipe; after a stop, the same command with --resume goes on.

    A recipe has options of its own: --optimization.learning-rate 1e-4 --transformer.num-layers 4
    --curriculum.0.objectives.0.batch-size 8. `malt train RECIPE --list-options` lists them all with their values.
    """

    recipe: Annotated[str, Positional("RECIPE")] = ""
    """What to train: default (what the model that ships began as), finetune (more of the last stage, from --start), videos
    (your own, from --data), drive (on-board videos with steering and throttle, from --data), maze (a world to walk in),
    ucf101 and kinetics600 (classes of videos as folders, from --data), tiny (a minute, learns nothing), or a function of a
    file, as FILE.py:NAME. The default when nothing is named."""
    out: Path = Path("runs/default")
    """The run's folder: journal, checkpoints and, at the end, the finished model under pipeline/."""
    data: Path | None = None
    """What to learn from: a folder of videos, or of shards that malt encode made; by default a synthetic world (--world)."""
    codec: Path | None = None
    """A ready autoencoder, or a model that has one, instead of training one on the videos first."""
    seed: int | None = None
    """What chance starts from (0 by default): the same recipe and seed give the same model on the same machine."""
    start: Path | None = None
    """A finished model (with model_index.json) to begin from: its autoencoder is kept, or --codec taken; the rest learns on."""
    resume: bool = False
    """Go on with the run that is in the folder, exactly as if it had never stopped; nothing need be said again."""
    list_options: bool = False
    """List the options of the recipe with their values, and train nothing."""
    plan: bool = False
    """Say what the run would take (parameters, memory, operations, hours on --gpus), and load and train nothing."""
    gpus: str = "h100"
    """What to plan for, as h100:8 for eight of them."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1."""
    threads: int = 1
    """How many processor threads to use: as many as there are idle cores, never more."""
    overrides: Annotated[Overrides, Rest()] = ()

    def run(self) -> None:
        """Check, then train; progress goes to the screen and to the journals in the folder."""
        check_count("--threads", self.threads)
        if self.seed is not None:
            check_seed(self.seed)
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; name a folder for the run")
        recipe, experiment = self._resumed() if self.resume else self._begun()
        if self.list_options:
            _list_options(experiment)
        elif self.plan:
            _plan(experiment, self.gpus)
        else:
            self._train(experiment, recipe)

    def _train(self, experiment: "Experiment", recipe: str) -> None:
        if not self.resume and self.out.exists() and any(path.name != "lock" for path in self.out.iterdir()):
            raise UsageError(f"{self.out} holds something already; give --resume to go on, or name another folder")
        from malt.training.run import train

        device = choose_device(self.device)
        silence_libraries()
        use_threads(self.threads)
        train(experiment, self.out, device=device, recipe=recipe)

    def _begun(self) -> tuple[str, "Experiment"]:
        """The recipe and what is to be trained, by this command line alone."""
        from malt.training.recipes import find_recipe, resolve

        recipe = self.recipe or "default"
        experiment = find_recipe(recipe)()
        if self.start and not (self.start / "model_index.json").exists():
            raise UsageError(f"{self.start} holds no model to start from; give a folder with model_index.json")
        if teacher := dict(self.overrides).get("teacher"):
            experiment = self._taught(experiment, Path(teacher[0]))
        experiment = resolve(experiment, self._options(), self._own_names())
        is_run = not (self.list_options or self.plan)
        if recipe == "finetune" and not self.start and is_run:
            raise UsageError("the recipe finetune goes on from a finished model; name it with --start")
        if recipe.startswith("distill") and not experiment.teacher and is_run:
            raise UsageError(f"the recipe {recipe} learns from a finished model; name it with --teacher")
        if recipe in FROM_VIDEOS and not self.data and is_run:
            raise UsageError(f"the recipe {recipe} learns from your own videos; name their folder with --data")
        return recipe, experiment

    def _taught(self, experiment: "Experiment", teacher: Path) -> "Experiment":
        """The experiment with what its teacher says."""
        from malt.training.distilled_adapter import with_adapter
        from malt.training.distilled_transformer import with_teacher
        from malt.training.kept_of_teacher import check_words

        base = dict(self.overrides).get("base")
        taught = with_adapter(experiment, teacher, Path(base[0])) if base else with_teacher(experiment, teacher)
        check_words(taught, self._options())
        return taught

    def _resumed(self) -> tuple[str, "Experiment"]:
        """What the run in the folder was begun with, and what is said again must agree."""
        from malt.training.recipes import find_recipe, resolve
        from malt.training.run_folder import check_unchanged, read_experiment

        begun = read_experiment(self.out)
        if self.recipe:
            find_recipe(self.recipe)
        if self.recipe and begun.recipe and self.recipe != begun.recipe:
            raise UsageError(
                f"the run in {self.out} was begun with the recipe {begun.recipe}, not {self.recipe}; leave the recipe out"
            )
        experiment = resolve(begun.experiment, self._options(), self._own_names())
        check_unchanged(self.out, begun.experiment, experiment)
        return begun.recipe, experiment

    def _options(self) -> dict[str, Sequence[str]]:
        """All that is said of the experiment, as options and their words."""
        paths = {"data": self.data, "codec": self.codec, "start": self.start}
        given: dict[str, Sequence[str]] = {name: [str(path.resolve())] for name, path in paths.items() if path}
        if self.seed is not None:
            given["seed"] = [str(self.seed)]
        return given | dict(self.overrides)

    def _own_names(self) -> list[str]:
        return [field.name for field in fields(self) if field.name != "overrides"]


def _list_options(experiment: "Experiment") -> None:
    """Print every field as it is typed, with its value."""
    from malt.training.options import values_of

    for name, value in values_of(experiment):
        words = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        print(name, words.lower() if isinstance(value, bool) or value is None else words)


def _plan(experiment: "Experiment", gpus: str) -> None:
    """Print what the run would take."""
    from malt.training.planning.gpus import parse_gpus
    from malt.training.planning.report import lines_of
    from malt.training.planning.run_plan import plan_run

    silence_libraries()
    for line in lines_of(plan_run(experiment, parse_gpus(gpus))):
        print(line)
