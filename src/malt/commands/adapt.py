"""`malt adapt`: a memory for a pretrained video model, learned beside it while it stays as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.model_options import silence_libraries
from malt.commands.option import Positional, Rest
from malt.commands.train import Overrides, TrainCommand
from malt.errors import UsageError

SETTINGS = (
    "transformer/config.json",
    "transformer_2/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
)  # that a plan reads


@dataclass(frozen=True, kw_only=True)
class AdaptCommand:
    """Train an adapter for a frozen base: a memory, and low-rank changes of the base's layers that learn to use it.

    It is malt train with a recipe for adapters: the same journal, the same --resume, the same options for every field of the
    recipe (--adapter.memory slots --adapter.lora-rank 32 --parallel.fsdp true), and torchrun for many GPUs. Latents and text
    embeddings that malt encode --base has stored are learned from without the base's text encoder.
    """

    recipe: Annotated[str, Positional("RECIPE")] = ""
    """How to train: adapt (short videos, then long ones), adapt-tiny (a minute, learns nothing), or a function of a file,
    as FILE.py:NAME. The first when nothing is named."""
    base: str | None = None
    """The model to adapt: a folder that diffusers has saved, with its transformer, autoencoder and text encoder, or its name
    on the hub, as in Wan-AI/Wan2.1-T2V-1.3B-Diffusers."""
    data: Path | None = None
    """What to learn from: a folder of videos, or of shards that malt encode made of them."""
    out: Path = Path("runs/adapter")
    """The run's folder: journal, checkpoints and, at the end, the adapter under adapter/."""
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
        """Check what only adapters need, and train."""
        recipe = self.recipe if self.resume else self.recipe or "adapt"
        if not (self.resume or self.list_options):
            self._check(recipe)
        shared = {name: value for name, value in vars(self).items() if name not in ("recipe", "base")}
        TrainCommand(recipe=recipe, **shared | {"overrides": self.overrides + self._base()}).run()

    def _check(self, recipe: str) -> None:
        if self.base is None:
            raise UsageError("an adapter is for one base; name the folder of a pretrained video model with --base")
        if recipe == "adapt" and self.data is None and not self.plan:
            raise UsageError("the recipe adapt learns from your own videos; name their folder with --data")

    def _base(self) -> Overrides:
        """The base as a field of the recipe: a whole folder, but where its settings or nothing of it is read."""
        if self.base is None:
            return ()
        folder = Path(self.base) if self.list_options else find_base(self.base, whole=not self.plan)
        return (("base", (str(folder.resolve()),)),)


def find_base(base: str, *, whole: bool) -> Path:
    """The folder of a base, `whole` and checked or with no more than a plan reads; fetched where it is a name on the hub.

    Raises:
        UsageError: there is no such base, or it is of no known family.
        CheckpointError: it cannot be fetched, or something of it is missing, pickled or damaged.
    """
    return _whole(base) if whole else _settings(base)


def _settings(base: str) -> Path:
    from malt.pipelines.base_folder import base_folder
    from malt.training.base_settings import transformer_class

    is_folder = Path(base).is_dir()
    folder = Path(base) if is_folder else base_folder(base, SETTINGS)
    transformer_class(folder)
    return folder


def _whole(base: str) -> Path:
    from malt.pipelines.adapted_loading import whole_base
    from malt.pipelines.base_check import check_base_folder

    silence_libraries()
    folder = whole_base(base)
    check_base_folder(folder)
    return folder
