"""`malt distill`: a student that makes a segment in few passes, from a model that makes it in many."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.option import Positional, Rest
from malt.commands.train import Overrides, TrainCommand
from malt.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DistillCommand:
    """Train a student that makes a segment in few passes: one a step, of a model that makes three in each of many steps.

    It is malt train with a recipe for students: the same journal, the same --resume, the same options for every field of the
    recipe (--optimization.num-steps 600 --student.method shortcut --student.guidance-scales 1 4), and torchrun for many GPUs.
    """

    teacher: Annotated[str, Positional("TEACHER")] = ""
    """What teaches: a model that comes with the package, by its name, or a folder with model_index.json."""
    recipe: str | None = None
    """How to train: distill (on a synthetic world), distill-videos (on your own, from --data), distill-tiny (a minute, learns
    nothing), or a function of a file, as FILE.py:NAME. By --data when nothing is named."""
    data: Path | None = None
    """What to learn from: a folder of videos, or of shards that malt encode made; by default the synthetic world."""
    out: Path = Path("runs/student")
    """The run's folder: journal, checkpoints and, at the end, the finished model under pipeline/."""
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
        recipe = self.recipe or ("" if self.resume else "distill-videos" if self.data else "distill")
        shared = {name: value for name, value in vars(self).items() if name not in ("recipe", "teacher")}
        TrainCommand(recipe=recipe, **shared | {"overrides": self.overrides + self._teacher()}).run()

    def _teacher(self) -> Overrides:
        """The teacher as a field of the recipe; nothing where it need not be said again."""
        from malt.commands.model_options import find_model

        if self.teacher:
            return (("teacher", (str(find_model(self.teacher, None)),)),)
        if self.resume or self.list_options:
            return ()
        raise UsageError("a student has a teacher; name a model that comes with the package, or a folder with one")
