"""A pretrained base with a memory, as it is planned: from its settings, and from captions that nobody encodes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malt.adapters import family_of
from malt.adapters.experts import NAMES
from malt.diffusion.caption import Caption
from malt.training.adapted_base import AdaptedModel, adapt_base
from malt.training.base_settings import base_without_weights, boundary_between, fitted
from malt.training.config import AdapterConfig

TOKENS, GLYPHS = 512, 256  # of a caption where its base does not say, and of words in it that are to be drawn
WIDTHS = ("text_dim", "text_embed_dim", "caption_channels", "cross_attention_dim")  # as bases call a caption's


def adapted_without_weights(base: Path, adapter: AdapterConfig, precision: torch.dtype) -> AdaptedModel:
    """The base in this folder with an adapter, on the meta device, and captions that have a size and no meaning.

    Raises:
        UsageError: there is no base, or one of no known family.
    """
    boundary, adapter = boundary_between(base), fitted(adapter, base)
    models = [base_without_weights(base, precision, name) for name in (NAMES[:1] if boundary is None else NAMES)]
    model = models[0]
    family, config = family_of(model), model.config
    tokens = family.text_tokens or TOKENS

    def text(captions: Sequence[str]) -> Caption:
        count = len(captions)
        added = {name: tensor for name, tensor in _added(config, count, precision).items() if name in family.takes}
        states = torch.empty(count, tokens, _width(config), dtype=precision)
        return Caption(states, torch.empty(count, tokens, dtype=torch.bool), added)

    with torch.device("meta"):
        return AdaptedModel(adapt_base(models, adapter.settings, boundary), text)


def _width(config: Any) -> int:
    """Channels of a caption's states, as the base takes them."""
    return int(next(config[name] for name in WIDTHS if config.get(name)))


def _added(config: Any, count: int, precision: torch.dtype) -> dict[str, Tensor]:
    """What the pipelines of some bases tell them beside a caption's states."""
    added = {"guidance": torch.empty(count), "encoder_attention_mask_2": torch.empty(count, GLYPHS, dtype=torch.bool)}
    if config.get("inject_sample_info"):
        added["fps"] = torch.empty(count, dtype=torch.long)
    if width := config.get("pooled_projection_dim"):
        added["pooled_projections"] = torch.empty(count, width, dtype=precision)
    if width := config.get("text_embed_2_dim"):
        added["encoder_hidden_states_2"] = torch.empty(count, GLYPHS, width, dtype=precision)
    return added
