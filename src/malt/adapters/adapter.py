"""`MemoryAdapter`: what is learned beside a frozen base, and saved alone."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from malt.adapters.family import Family
from malt.adapters.layer import AdapterLayer, LayerSettings
from malt.adapters.offloading import check_here
from malt.errors import UsageError
from malt.memory.protocol import Layout
from malt.memory.registry import Setting
from malt.memory.state import Memory, num_bytes


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
        memory_width: channels of what is remembered; None for the base's own. Kinds with weights of their own need a narrow one.
        read: `beside` the keys and values of self-attention, or by an attention of its own `behind` each block.
        every: every how many layers one has a memory; 1 for all of them.
        segment_frames: latent frames in a segment.
        context_frames: clean latent frames before a segment that it sees beside its memory.
        lora_rank: of a LoRA on the base that learns along; 0 for none.
        lora_targets: what of the base it changes, `attention` (self-attention) and `feed_forward`.
        lora_every: every how many layers one has it; 1 for all of them.

    Raises:
        UsageError: for a way to read, a target or a width that there is not.
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
        memory_width: int | None = None,
        read: str = "beside",
        every: int = 1,
        segment_frames: int = 4,
        context_frames: int = 0,
        lora_rank: int = 0,
        lora_targets: Sequence[str] = ("attention", "feed_forward"),
        lora_every: int = 1,
    ) -> None:
        super().__init__()
        for what, asked in (("memory", every), ("LoRA", lora_every)):
            if not 1 <= asked <= num_layers:
                raise UsageError(f"asked for a {what} every {asked} of {num_layers} layers; give 1 to {num_layers}")
        if memory == "places":
            raise UsageError(
                "a base is told no turns and steps, by which a memory of places is read; choose another kind"
            )
        remembers = LayerSettings(kind=memory, size=memory_size, settings=memory_config, width=memory_width, read=read)
        nothing = LayerSettings(kind="none")
        self.layers = nn.ModuleList(
            AdapterLayer(width, num_heads, remembers if layer % every == every - 1 else nothing)
            for layer in range(num_layers)
        )

    @classmethod
    def for_base(cls, base: Any, family: Family, **settings: object) -> "MemoryAdapter":
        """A new adapter, of the base's sizes; it shows what is remembered as the base sees tokens without noise.

        Args:
            base: the pretrained transformer.
            family: its family.
            settings: those of the adapter itself, from `memory` on.

        Raises:
            UsageError: for an offloaded base, and settings that cannot be.
        """
        check_here(base)
        count = sum(len(getattr(base, name)) for name in family.lists)
        settings = {"read": "beside" if family.reads_beside(base) else "behind"} | settings
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

    def memory_bytes(self, batch: int, layout: Layout) -> int:
        """Size of the memory of so many videos in bytes, as rollouts keep it: two bytes a number."""
        return num_bytes(self.empty(batch, layout, torch.empty(0, dtype=torch.float16, device="meta")))
