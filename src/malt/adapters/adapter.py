"""`MemoryAdapter`: what is learned beside a frozen base, and saved alone."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from malt.adapters.family import Family
from malt.adapters.layer import AdapterLayer
from malt.memory.protocol import Layout
from malt.memory.registry import Setting
from malt.memory.state import Memory


class MemoryAdapter(ModelMixin, ConfigMixin):
    """A memory for every layer of a base that is to have one.

    Args:
        family: name of the base's family.
        width: channels of the base's tokens.
        num_heads: heads of the base's self-attention.
        num_layers: blocks of the base.
        memory: kind of memory, as in `malt.memory.registry`.
        memory_size: slots, places or pooled segments a layer; None for the kind's default.
        memory_config: settings of the kind by name; they count before `memory_size`.
        every: every how many layers one has a memory; 1 for all of them.
        segment_frames: latent frames in a segment.
        context_frames: clean latent frames before a segment that it sees beside its memory.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self,
        *,
        family: str,
        width: int,
        num_heads: int,
        num_layers: int,
        memory: str = "hierarchical",
        memory_size: int | None = None,
        memory_config: Mapping[str, Setting] | None = None,
        every: int = 1,
        segment_frames: int = 4,
        context_frames: int = 0,
    ) -> None:
        super().__init__()
        kinds = [memory if layer % every == every - 1 else "none" for layer in range(num_layers)]
        self.layers = nn.ModuleList(AdapterLayer(width, num_heads, kind, memory_size, memory_config) for kind in kinds)

    @classmethod
    def for_base(cls, base: Any, family: Family, **settings: object) -> "MemoryAdapter":
        """A new adapter, of the base's sizes; it shows what is remembered as the base sees tokens without noise.

        Args:
            base: the pretrained transformer.
            family: its family.
            settings: those of the adapter itself, from `memory` on.
        """
        count = sum(len(getattr(base, name)) for name in family.lists)
        adapter: MemoryAdapter = cls(
            family=family.name, width=family.width(base), num_heads=family.heads(base), num_layers=count, **settings
        )
        adapter.show_as(family.clean(base))
        return adapter

    @property
    def each(self) -> list[AdapterLayer]:
        """What stands beside every block of the base."""
        return cast(list[AdapterLayer], list(self.layers))

    @torch.no_grad()
    def show_as(self, clean: Float[Tensor, "layers 2 d"]) -> None:
        """Begin with the scales and shifts that a base gives its own tokens at noise level 0."""
        for layer, shown in zip(self.each, clean, strict=True):
            if layer.shown is not None:
                layer.shown.copy_(shown)

    def empty(self, batch: int, layout: Layout, like: Tensor) -> Memory:
        """A memory in which nothing has been written, on the device and in the type of `like`."""
        return tuple(layer.memory.empty(batch, layout, like) for layer in self.each)
