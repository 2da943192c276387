"""`malt export`: a model to generate with from a run that is not finished yet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.wording import counted


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write the newest state of a run as a model that `malt generate --checkpoint` takes; the run is not disturbed."""

    run_folder: Annotated[Path, Positional("RUN")]
    """The folder that `malt train --out` was given."""
    out: Path
    """Where to write the model: a folder that is not there yet."""

    def run(self) -> None:
        """Check, then read the averaged weights and write the model."""
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageError(f"{self.out} holds something already; name another folder")
        if not self.out.absolute().parent.is_dir():
            raise UsageError(f"the folder {self.out.absolute().parent} does not exist; make it first or choose another")
        if not (self.run_folder / "experiment.json").exists():
            raise UsageError(f"{self.run_folder} holds no run; give the folder that malt train was given as --out")
        from malt.commands.model_options import silence_libraries
        from malt.training.newest_model import export

        silence_libraries()
        with interruptible():
            step = export(self.run_folder, self.out)
        print(f"the model after {counted(step, 'step')} is in {self.out}")
