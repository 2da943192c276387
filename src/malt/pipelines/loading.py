"""Loads a pipeline, whole and safe, from a folder or from the package; nothing is fetched."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from malt.errors import CheckpointError
from malt.pipelines.checkpoint_check import MODELS, WHAT_LOADING_RAISES, check_checkpoint, only_variant, tensor_names
from malt.pipelines.packaged import default_checkpoint, packaged_models
from malt.wording import counted

if TYPE_CHECKING:
    from malt.pipelines.malt import MaltPipeline


def load_pipeline(checkpoint: Path | str | None = None) -> "MaltPipeline":
    """Load a pipeline in single precision; `MaltPipeline.from_pretrained` that fetches nothing and checks everything.

    Args:
        checkpoint: a folder with `model_index.json` and the pipeline's components, or the name of a model that comes with
            the package, "default", "teacher", "drive" or "maze"; None is "default". Weights all of one variant are taken so.

    Raises:
        CheckpointError: the folder is missing, no checkpoint, incomplete, pickled, damaged, or its weights do not fit.
    """
    path = default_checkpoint() if checkpoint is None else packaged_models().get(str(checkpoint), Path(checkpoint))
    check_checkpoint(path)
    from malt.pipelines.malt import MaltPipeline

    where = {"local_files_only": True, "use_safetensors": True, "variant": only_variant(path)}
    try:
        pipeline = MaltPipeline.from_pretrained(path, dtype=torch.float32, **where)
    except WHAT_LOADING_RAISES as error:
        raise CheckpointError(_cannot_load(path, error)) from error
    for name in MODELS:
        check_complete(path / name, getattr(pipeline, name))
    return pipeline


def missing_tensors(model: nn.Module, stored: set[str]) -> list[str]:
    """List the model's tensors that were not stored, other than those tied to a stored one."""
    tensors: dict[str, Tensor] = model.state_dict()
    stored_places = {tensor.data_ptr() for name, tensor in tensors.items() if name in stored}
    return [name for name, tensor in tensors.items() if name not in stored and tensor.data_ptr() not in stored_places]


def check_complete(folder: Path, model: nn.Module) -> None:
    """Refuse what `from_pretrained` only warns of: weights that were not stored, and stored ones left out.

    Other libraries rename weights as they load them: theirs are held to their names where all stored names are the model's.

    Args:
        folder: of the model's own files.
        model: as it was loaded; weights that were not stored are random, or on the meta device.

    Raises:
        CheckpointError: the folder and its config.json do not fit.
    """
    stored, names = tensor_names(folder), model.state_dict().keys()
    is_ours, foreign = type(model).__module__.startswith("malt."), sorted(stored - names)
    missing = _left_on_meta(model) if foreign and not is_ours else missing_tensors(model, stored)
    if missing:
        raise CheckpointError(
            f"{folder} lacks {counted(len(missing), 'weight')}, such as {missing[0]}; copy it again, whole"
        )
    if foreign and is_ours:
        raise CheckpointError(
            f"{folder} holds {counted(len(foreign), 'weight')} that a model of its config.json has not, such as {foreign[0]}; "
            "use the config.json they were saved with"
        )


def _left_on_meta(model: nn.Module) -> list[str]:
    return [name for name, weight in model.named_parameters() if weight.is_meta]


def _cannot_load(path: Path, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0].split(". ")[0][:200]
    return f"the checkpoint {path} cannot be loaded ({reason}); copy it again or use the version of malt that made it"
