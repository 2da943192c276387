"""The newest state of a run that goes on, written as the finished run will be."""

from pathlib import Path

import torch

from malt.errors import CheckpointError
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.training.assembly import model_spec
from malt.training.engine.checkpoint import damage, load_average, saved_states
from malt.training.run_folder import read_experiment, read_words


def export(run: Path, out: Path) -> int:
    """Write the newest whole state of a run as a model, averaged weights; returns its step.

    Raises:
        CheckpointError: when the run has no state of the transformer that is whole.
        UsageError: when there is no run.
    """
    experiment, words = read_experiment(run).experiment, read_words(run)
    states = [state for state in saved_states(run / "transformer") if damage(state) is None]
    if not states or words is None:
        raise CheckpointError(f"the run in {run} has no whole state of its transformer yet; let it train on")
    autoencoder = load_autoencoder(Path(experiment.base) if experiment.base else run / "autoencoder" / "final")
    spec = model_spec(experiment, torch.float32, "cpu")
    model = spec.build(words, autoencoder)
    try:
        model.load_state_dict(load_average(states[-1]), strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{states[-1]} is not of the model that {run} was begun with; copy the run again"
        ) from error
    spec.write(model, autoencoder, out)
    return int(states[-1].name.rsplit("-", 1)[-1])
