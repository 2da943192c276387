"""What the settings of a frozen base say before anything of it is loaded, and what they leave an adapter to be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin
from torch import nn

from malt.adapters import family_of
from malt.adapters.choose import known_class
from malt.adapters.experts import NAMES, boundary_of
from malt.errors import CheckpointError, UsageError
from malt.pipelines.base_check import components
from malt.pipelines.base_folder import read_settings
from malt.pipelines.caption_encoding import base_parts
from malt.training.config import AdapterConfig

READ, CONTEXT = "--adapter.read", "--adapter.context-frames"


def base_without_weights(base: Path, dtype: torch.dtype, name: str = NAMES[0]) -> nn.Module:
    """A transformer of a base as its settings describe it, on the meta device: shapes, and nothing loaded.

    Raises:
        UsageError: there is no base, or one of no known family.
    """
    with torch.device("meta"):
        model: nn.Module = transformer_class(base).from_config(_config(base, name))
    exact = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, weight in model.named_parameters():
        if not any(part in name.split(".") for part in exact):
            weight.data = weight.data.to(dtype)
    return model


def fitted(adapter: AdapterConfig, base: Path) -> AdapterConfig:
    """The adapter with what it leaves open as the base has it: how its memory is read, and frames of context.

    Raises:
        UsageError: there is no base, one of no known family, or one that cannot be given such an adapter.
    """
    if (base / "model_index.json").is_file():  # else it is planned from less
        _check_told_by_text(base)
    model = base_without_weights(base, torch.float32)
    family = family_of(model)
    beside, levels = family.reads_beside(model), family.levels_per_frame
    read = adapter.read or ("beside" if beside else "behind")
    context = int(levels) if adapter.context_frames is None else adapter.context_frames
    if read == "beside" and not beside:
        raise UsageError(
            f"the self-attention of this base cannot read a memory beside its own keys; give {READ} behind"
        )
    if context and not levels:
        raise UsageError(f"this base has one noise level for all frames; give {CONTEXT} 0")
    return replace(adapter, read=read, context_frames=context)


def patch_side(base: Path) -> int:
    """Side of a token of a base in latent pixels, as its settings say.

    Raises:
        UsageError: there is no base, or one of no known family.
    """
    model = base_without_weights(base, torch.float32)
    return max(family_of(model).patch(model)[1:])


def boundary_between(base: Path) -> float | None:
    """The noise level at which the second of a base's two transformers takes over; None for a base of one.

    Raises:
        CheckpointError: its index is damaged.
        UsageError: it has two, and does not say.
    """
    path = base / "model_index.json"
    index = read_settings(path) if path.is_file() else {}  # else it is planned from less
    return boundary_of(index) if NAMES[1] in components(index) else None


def transformer_class(base: Path) -> type[ModelMixin]:
    """The class of a base's transformer.

    Raises:
        CheckpointError: there is none in the folder.
        UsageError: it is of no known family.
    """
    found: type[ModelMixin] = getattr(diffusers, known_class(str(_config(base).get("_class_name"))))
    return found


def _check_told_by_text(base: Path) -> None:
    """Refuse a base that is told the frame before each segment as its pipeline tells it, by pixels that latents do not hold.

    Raises:
        UsageError: for such a base, or a pipeline of no known family.
    """
    if base_parts(base).goes_on_from_frame:
        raise UsageError(
            "an adapter is learned from latents, and this base is told an image; give the same model for text to video"
        )


def _config(base: Path, name: str = NAMES[0]) -> dict[str, Any]:
    path = base / name / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{base} holds no base; give a folder of diffusers with {name}/config.json") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged; copy the base again") from error
    assert isinstance(found, dict)
    return found
