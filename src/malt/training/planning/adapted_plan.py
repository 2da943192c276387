"""A pretrained base with a memory, as it is planned: from its settings, and from captions that nobody encodes."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from malt.diffusion.caption import Caption
from malt.errors import CheckpointError
from malt.training.adapted_base import AdaptedModel, adapt_base, base_without_weights
from malt.training.config import AdapterConfig

TOKENS = 512  # of a caption: as many as any base is trained with


def adapted_without_weights(base: Path, adapter: AdapterConfig, precision: torch.dtype) -> AdaptedModel:
    """The base in this folder with an adapter, on the meta device, and captions that have a size and no meaning.

    Raises:
        CheckpointError: the settings of its text encoder are missing or damaged.
        UsageError: there is no base, or one of no known family.
    """
    width = _text_width(base)

    def text(captions: Sequence[str]) -> Caption:
        states = torch.empty(len(captions), TOKENS, width, dtype=precision)
        return Caption(states, torch.empty(len(captions), TOKENS, dtype=torch.bool))

    with torch.device("meta"):
        return AdaptedModel(adapt_base(base_without_weights(base, precision), adapter), text)


def _text_width(base: Path) -> int:
    """Width of the states of a base's text encoder."""
    path = base / "text_encoder" / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return int(settings.get("d_model") or settings["hidden_size"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is missing or damaged; copy the settings of the base again") from error
