"""A whole experiment, from nothing to a pipeline directory: autoencoder, encoded videos, transformer, export."""

from contextlib import nullcontext
from pathlib import Path

from malt.training.assembly import assemble
from malt.training.config import Experiment
from malt.training.engine.parallel import launched
from malt.training.run_folder import claimed, write_experiment
from malt.training.sources.data_source import Log


def train(experiment: Experiment, out: Path, device: str = "cpu", log: Log = print, *, recipe: str = "") -> Path:
    """Run or resume `experiment` in the folder `out`; returns the directory of the finished `MaltPipeline`.

    Started by torchrun, all processes share every batch, and the first one does what is done once.

    Raises:
        UsageError: another process trains in the folder, or the data cannot be learned from.
        DivergedError: the numbers are no longer finite; the last good state is saved.
    """
    with launched(on_gpu=device.startswith("cuda")) as context, claimed(out) if context.is_first else nullcontext():
        run = assemble(experiment, out, device, context, log if context.is_first else _silently)
        if context.is_first:
            write_experiment(out, experiment, recipe)
        return run.finish()


def _silently(sentence: str) -> None:
    """What processes but the first say."""
