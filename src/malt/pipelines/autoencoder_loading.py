"""Loads an autoencoder, ours or one of diffusers', from its own folder or from that of a pipeline."""

import json
from pathlib import Path

import diffusers
import torch
from diffusers import ModelMixin
from torch import nn

from malt.codecs.registry import CODECS
from malt.errors import CheckpointError
from malt.models.autoencoder import AutoencoderMalt
from malt.pipelines.base_folder import check_not_pickled
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES, how_to_load
from malt.pipelines.loading import check_complete
from malt.pipelines.packaged import default_checkpoint


def load_autoencoder(folder: Path | None = None) -> nn.Module:
    """The autoencoder in a folder, in single precision, not to be trained; None is that of the default model.

    Raises:
        CheckpointError: there is none in the folder, no codec serves it, or it cannot be loaded.
    """
    path = _folder_of(default_checkpoint() if folder is None else folder)
    kind = _class_of(path)
    check_not_pickled(path)
    try:
        model: nn.Module = kind.from_pretrained(
            path, torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except WHAT_LOADING_RAISES as error:
        raise CheckpointError(f"the autoencoder {path} cannot be loaded; {how_to_load(path)}") from error
    check_complete(path, model)
    return model.eval().requires_grad_(False)


def autoencoder_without_weights(folder: Path) -> nn.Module:
    """The autoencoder in a folder as its settings describe it, on the meta device: shapes, and nothing loaded.

    Raises:
        CheckpointError: there is none in the folder, or no codec serves it.
    """
    path = _folder_of(folder)
    kind = _class_of(path)
    with torch.device("meta"):
        model: nn.Module = kind.from_config(kind.load_config(path, local_files_only=True))
    return model


def _folder_of(folder: Path) -> Path:
    for path in (folder / "vae", folder):
        if (path / "config.json").is_file():
            return path
    raise CheckpointError(
        f"{folder} holds no autoencoder; give a folder with its config.json, or a model's folder with vae/ in it"
    )


def _class_of(path: Path) -> type[ModelMixin]:
    try:
        name = json.loads((path / "config.json").read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path / 'config.json'} is damaged; copy the autoencoder again") from error
    if name not in CODECS:
        raise CheckpointError(f"{path} holds {name}, for which there is no codec; give one of {', '.join(CODECS)}")
    kind: type[ModelMixin] = AutoencoderMalt if name == "AutoencoderMalt" else getattr(diffusers, name)
    return kind
