"""Two transformers as one model, as Wan 2.2 of 14 B has them: one for much noise, one for little, each with its own memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from malt.adapters import AdaptedTransformer3DModel, MemoryAdapter, add_memory
from malt.errors import UsageError
from malt.memory.protocol import LayerMemory
from malt.memory.state import KVCache, LayerCache, Memory
from malt.models.video_model import TransformerOutput

ROUNDING = 1e-6  # of a noise level that passes through single precision


class TwoExperts(nn.Module):
    """The transformer for much noise and that for little.

    A pass is made by the one for the highest noise level in it; a finished segment is shown to both. Their memories stand one
    behind the other.

    Args:
        high: makes the steps from noise level `boundary` on.
        low: makes those below.
        boundary: a noise level.
    """

    action_dim = None
    distilled = None

    high: AdaptedTransformer3DModel
    low: AdaptedTransformer3DModel

    def __init__(self, high: AdaptedTransformer3DModel, low: AdaptedTransformer3DModel, boundary: float) -> None:
        super().__init__()
        self.high, self.low, self.boundary = high, low, boundary

    @property
    def segment_frames(self) -> int:
        """Latent frames in a segment."""
        return self.high.segment_frames

    @property
    def context_frames(self) -> int:
        """Clean latent frames before a segment."""
        return self.high.context_frames

    @property
    def patch_size(self) -> tuple[int, int]:
        """Rows and columns of latent pixels in a token."""
        return self.high.patch_size

    @property
    def remembers(self) -> bool:
        """Whether either memory has room for anything."""
        return self.high.remembers or self.low.remembers

    @property
    def config(self) -> dict[str, Any]:
        """Of both adapters."""
        return {"high": dict(self.high.config), "low": dict(self.low.config), "boundary": self.boundary}

    @property
    def device(self) -> torch.device:
        """Where the first's adapter is."""
        return self.high.device

    def empty_memory(self, batch: int, height: int, width: int) -> Memory:
        """Two memories in which nothing has been written."""
        return self.high.empty_memory(batch, height, width) + self.low.empty_memory(batch, height, width)

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        """Size of both memories."""
        return self.high.memory_bytes(batch, height, width) + self.low.memory_bytes(batch, height, width)

    def memory_modules(self) -> list[LayerMemory]:
        """Those of the first, then those of the second."""
        return self.high.memory_modules() + self.low.memory_modules()

    def forward(
        self,
        latents: Float[Tensor, "b s c h w"],
        timestep: Float[Tensor, "b s"],
        memory: Memory | None,
        encoder_hidden_states: Float[Tensor, "b n e"],
        encoder_attention_mask: Bool[Tensor, "b n"],
        actions: Float[Tensor, "b s a"] | None = None,
        num_context_frames: int = 0,
        cache: KVCache | None = None,
        update_memory: bool = True,
        added_conditions: Mapping[str, Tensor] | None = None,
    ) -> TransformerOutput:
        """As `AdaptedTransformer3DModel.forward`."""
        memory = self.empty_memory(len(latents), *latents.shape[-2:]) if memory is None else memory
        parts = _Parts.of(memory, len(self.high.memory_modules()))
        text = encoder_hidden_states, encoder_attention_mask, actions, num_context_frames
        if update_memory:
            seen = self.high(latents, timestep, parts.high, *text, None, True, added_conditions)
            made = self.low(latents, timestep, parts.low, *text, None, True, added_conditions)
            return TransformerOutput(made.velocity, seen.memory + made.memory, None)
        is_high = float(timestep.max()) >= self.boundary - ROUNDING
        expert, own = (self.high, parts.high) if is_high else (self.low, parts.low)
        known = cache if isinstance(cache, _ExpertCache) and cache.is_high == is_high else None
        made = expert(latents, timestep, own, *text, known, False, added_conditions)
        kept = None if made.cache is None else _ExpertCache(made.cache, is_high)
        return TransformerOutput(made.velocity, memory, kept)


def adapt(pipe: Any, adapter: MemoryAdapter | Mapping[str, Any] | str | Path) -> list[AdaptedTransformer3DModel]:
    """The transformers of a pipeline, one or two, each with a memory.

    Args:
        pipe: a pipeline of diffusers.
        adapter: as `add_memory` takes it; for two, a folder with one for each, or settings for both.

    Raises:
        UsageError: there are two transformers, and not an adapter for each; or it does not fit.
    """
    second = getattr(pipe, "transformer_2", None)
    if second is None:
        return [add_memory(pipe, adapter)]
    if isinstance(adapter, str | Path):
        folders = [Path(adapter) / name for name in ("transformer", "transformer_2")]
        if not all(folder.is_dir() for folder in folders):
            raise UsageError(
                f"the base has two transformers, and {adapter} no adapter for each; give a folder with transformer/ and "
                "transformer_2/ in it"
            )
        return [add_memory(part, folder) for part, folder in zip((pipe.transformer, second), folders, strict=True)]
    if isinstance(adapter, MemoryAdapter):
        raise UsageError("the base has two transformers, which cannot share one adapter; give settings, or a folder")
    return [add_memory(part, adapter) for part in (pipe.transformer, second)]


def boundary_of(pipe: Any) -> float:
    """The noise level from which on a pipeline's first transformer makes the steps."""
    return float(pipe.config.boundary_ratio)


class _Parts(NamedTuple):
    high: Memory
    low: Memory

    @classmethod
    def of(cls, memory: Memory, count: int) -> "_Parts":
        return cls(memory[:count], memory[count:])


class _ExpertCache(tuple[LayerCache, ...]):
    """The cache of one of the two, of no use to the other."""

    is_high: bool

    def __new__(cls, layers: KVCache, is_high: bool) -> "_ExpertCache":
        made = super().__new__(cls, layers)
        made.is_high = is_high
        return made
