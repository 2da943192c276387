"""`malt train`: from nothing to a model that `malt generate --checkpoint` takes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from malt.commands.checks import check_count, check_seed
from malt.commands.model import choose_device, silence_libraries
from malt.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Command:
    """Train an autoencoder and a transformer by a recipe; after a stop, the same command with --resume goes on."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = "default"
    """What to train: default (the model that ships), none (the same without memory), further (more of the last
    stage, from --start), tiny (a minute, learns nothing)."""
    out: Path = Path("runs/default")
    """The run's folder: journal, checkpoints and, at the end, the finished model under pipeline/."""
    seed: int = 0
    """What chance starts from: the same recipe and seed give the same model on the same machine."""
    start: Path | None = None
    """A finished model (with model_index.json) to begin from: its autoencoder is kept, its other weights go on learning."""
    resume: bool = False
    """Go on with the run that is in the folder, exactly as if it had never stopped."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1."""
    threads: int = 1
    """How many processor threads to use: as many as there are idle cores, never more."""

    def run(self) -> None:
        """Check, then train; progress goes to the screen and to journal.jsonl in the folder."""
        check_seed(self.seed)
        check_count("--threads", self.threads)
        from dataclasses import replace

        from malt.recipes import RECIPES

        if self.recipe not in RECIPES:
            raise UsageError(f"there is no recipe {self.recipe!r}; choose one of {', '.join(RECIPES)}")
        if self.start and not (self.start / "model_index.json").exists():
            raise UsageError(f"{self.start} holds no model to start from; give a folder with model_index.json")
        if self.recipe == "further" and not self.start:
            raise UsageError("the recipe further goes on from a finished model; name it with --start")
        start = str(self.start) if self.start else None
        experiment = replace(RECIPES[self.recipe](), seed=self.seed, start=start)
        self._check_folder(asdict(experiment))
        import torch

        from malt.training.run import train

        silence_libraries()
        torch.set_num_threads(self.threads)
        train(experiment, self.out, device=choose_device(self.device))

    def _check_folder(self, experiment: dict[str, Any]) -> None:
        """A folder with a run in it is only touched to go on with the same experiment."""
        saved = self.out / "experiment.json"
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; name a folder for the run")
        if self.resume and not saved.exists():
            raise UsageError(f"{self.out} holds no run to resume; leave --resume out to begin one")
        if not self.resume and self.out.exists() and any(self.out.iterdir()):
            raise UsageError(f"{self.out} holds something already; give --resume to go on, or name another folder")
        if saved.exists() and json.loads(saved.read_text()) != json.loads(json.dumps(experiment)):
            raise UsageError(f"the run in {self.out} was begun with another recipe or seed; name another folder")
