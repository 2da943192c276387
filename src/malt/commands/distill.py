"""`malt distill`: a student that makes a segment in few passes, from a model that makes it in many."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.option import Positional, Rest
from malt.commands.train import Overrides, TrainCommand
from malt.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DistillCommand:
    """Train a student that makes a segment in few passes: one a step, of a model that makes more in each of many steps.

    It is malt train with a recipe for students: the same journal, the same --resume, the same options for every field of the
    recipe (--optimization.num-steps 600 --student.method shortcut --student.guidance-scales 1 4), and torchrun for many GPUs.
    """

    teacher: Annotated[str, Positional("TEACHER")] = ""
    """What teaches: a model that comes with the package, by its name, a folder with model_index.json, or the folder of an
    adapter that malt adapt has trained."""
    base: str | None = None
    """The base of an adapter, if it is no longer where it was: a folder, or its name on the hub."""
    recipe: str | None = None
    """How to train: distill (on a synthetic world), distill-videos (on your own, from --data), distill-adapter (an adapter of
    a base, from --data), distill-tiny (a minute, learns nothing), or a function of a file, as FILE.py:NAME. By --data and the
    teacher when nothing is named."""
    data: Path | None = None
    """What to learn from: a folder of videos, or of shards that malt encode made; by default the synthetic world."""
    out: Path = Path("runs/student")
    """The run's folder: journal, checkpoints and, at the end, the finished model under pipeline/, or adapter/."""
    seed: int | None = None
    """What chance starts from (0 by default)."""
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
        """Find the teacher, and train."""
        recipe = self.recipe or ("" if self.resume else self._usual_recipe)
        shared = {name: value for name, value in vars(self).items() if name not in ("recipe", "teacher", "base")}
        TrainCommand(recipe=recipe, **shared | {"overrides": self.overrides + self._teacher()}).run()

    @property
    def _usual_recipe(self) -> str:
        return "distill-adapter" if self._is_adapter else "distill-videos" if self.data else "distill"

    @property
    def _is_adapter(self) -> bool:
        from malt.adapters.experts import NAMES
        from malt.adapters.folder import DESCRIPTION

        return any((Path(self.teacher) / part / DESCRIPTION).is_file() for part in ("", NAMES[0]))

    def _teacher(self) -> Overrides:
        """The teacher as a field of the recipe, and its base; nothing where it need not be said again."""
        from malt.commands.model_options import find_model

        if self.teacher and self._is_adapter:
            return (("teacher", (str(Path(self.teacher).resolve()),)), ("base", (str(self._base()),)))
        if self.base is not None and not self.resume:
            raise UsageError("--base is of an adapter that teaches; name the folder of one, or leave --base out")
        if self.teacher:
            return (("teacher", (str(find_model(self.teacher, None)),)),)
        if self.resume or self.list_options:
            return ()
        raise UsageError("a student has a teacher; name a model that comes with the package, or a folder with one")

    def _base(self) -> Path:
        """The folder of the base that the adapter is for."""
        from malt.commands.adapt import find_base
        from malt.pipelines.adapted_loading import base_of_adapter

        return find_base(self.base or base_of_adapter(self.teacher), whole=not self.plan).resolve()
