"""Two transformers as one model, as Wan 2.2 of 14 B has them: one for much noise, one for little, each with its own memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from malt.adapters.adapted_transformer import AdaptedTransformer3DModel
from malt.adapters.adapter import MemoryAdapter
from malt.adapters.attaching import add_memory
from malt.errors import UsageError
from malt.memory.protocol import LayerMemory
from malt.memory.state import KVCache, LayerCache, Memory, without_places
from malt.models.video_model import TransformerOutput

ROUNDING = 1e-6  # of a noise level that passes through single precision
NAMES = ("transformer", "transformer_2")  # as pipelines of diffusers call the two


class TwoExperts(nn.Module):
    """The transformer for much noise and that for little.

    A pass is made by the one for the highest noise level of its segment; a finished segment is shown to both, or to the one
    whose memory alone has room (see `only`). Their memories stand one behind the other.

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

    def only(self, memory: Memory, is_high: bool) -> Memory:
        """The same memory with room in that of one alone; no pass by the other is made to write."""
        parts = _Parts.of(memory, len(self.high.memory_modules()))
        return parts.high + without_places(parts.low) if is_high else without_places(parts.high) + parts.low

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        """Size of both memories."""
        return self.high.memory_bytes(batch, height, width) + self.low.memory_bytes(batch, height, width)

    def memory_modules(self) -> list[LayerMemory]:
        """Those of the first, then those of the second."""
        return self.high.memory_modules() + self.low.memory_modules()

    @property
    def blocks(self) -> list[nn.Module]:
        """Those of the first, then those of the second."""
        return self.high.blocks + self.low.blocks

    def enable_gradient_checkpointing(self) -> None:
        """In both."""
        self.high.enable_gradient_checkpointing()
        self.low.enable_gradient_checkpointing()

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
        # Where a film begins, what would be its context is noise at every step.
        is_high = float(timestep[:, num_context_frames:].max()) >= self.boundary - ROUNDING
        if update_memory and parts.is_of_one and self.high.remembers and self.low.remembers:
            expert = self.high if parts.has_high else self.low
            made = expert(
                latents, timestep, parts.high if parts.has_high else parts.low, *text, None, True, added_conditions
            )
            written = made.memory + parts.low if parts.has_high else parts.high + made.memory
            return TransformerOutput(made.velocity, written, None)
        if update_memory:
            high = self.high(latents, timestep, parts.high, *text, None, True, added_conditions)
            low = self.low(latents, timestep, parts.low, *text, None, True, added_conditions)
            return TransformerOutput((high if is_high else low).velocity, high.memory + low.memory, None)
        expert, own = (self.high, parts.high) if is_high else (self.low, parts.low)
        made = expert(latents, timestep, own, *text, self._known(cache, is_high), False, added_conditions)
        return TransformerOutput(made.velocity, memory, None if made.cache is None else self._kept(made.cache, is_high))

    def _known(self, cache: KVCache | None, is_high: bool) -> KVCache | None:
        """What one of the two has made of its memory already."""
        if cache is None:
            return None
        count = len(self.high.memory_modules())
        own = cache[:count] if is_high else cache[count:]
        return own if any(layer.memory is not None for layer in own) else None

    def _kept(self, made: KVCache, is_high: bool) -> KVCache:
        """The same with nothing in the places of the other."""
        other = self.low if is_high else self.high
        nothing = (LayerCache(None),) * len(other.memory_modules())
        return (*made, *nothing) if is_high else (*nothing, *made)


def adapt(pipe: Any, adapter: MemoryAdapter | Mapping[str, Any] | str | Path) -> list[AdaptedTransformer3DModel]:
    """The transformers of a pipeline, one or two, each with a memory.

    Args:
        pipe: a pipeline of diffusers.
        adapter: as `add_memory` takes it; for two, a folder with one for each, or settings for both.

    Raises:
        UsageError: there are two transformers, and not an adapter for each; or it does not fit.
    """
    second = getattr(pipe, NAMES[1], None)
    return [add_memory(pipe, adapter)] if second is None else adapt_both((pipe.transformer, second), adapter)


def adapt_both(
    transformers: Sequence[nn.Module], adapter: MemoryAdapter | Mapping[str, Any] | str | Path
) -> list[AdaptedTransformer3DModel]:
    """Two transformers, each with a memory; see `adapt`."""
    if isinstance(adapter, MemoryAdapter):
        raise UsageError("the base has two transformers, which cannot share one adapter; give settings, or a folder")
    own = adapters_in(adapter) if isinstance(adapter, str | Path) else (adapter, adapter)
    return [add_memory(part, each) for part, each in zip(transformers, own, strict=True)]


def adapters_in(folder: str | Path) -> tuple[Path, Path]:
    """The folders of two adapters in one.

    Raises:
        UsageError: it has no adapter for each.
    """
    first, second = (Path(folder) / name for name in NAMES)
    if not (first.is_dir() and second.is_dir()):
        raise UsageError(
            f"the base has two transformers, and {folder} no adapter for each; give a folder with transformer/ and "
            "transformer_2/ in it"
        )
    return first, second


def boundary_of(config: Mapping[str, Any]) -> float:
    """The noise level from which on the first of two transformers makes the steps, as their pipeline's settings say.

    Raises:
        UsageError: they do not.
    """
    if (boundary := config.get("boundary_ratio")) is None:
        raise UsageError("the base has two transformers, and no boundary_ratio in its model_index.json; copy it again")
    return float(boundary)


class _Parts(NamedTuple):
    high: Memory
    low: Memory

    @classmethod
    def of(cls, memory: Memory, count: int) -> "_Parts":
        return cls(memory[:count], memory[count:])

    @property
    def has_high(self) -> bool:
        """Whether the first's has room for anything."""
        return any(state.tokens.shape[1] for state in self.high)

    @property
    def is_of_one(self) -> bool:
        """Whether one of them has room for anything, and the other has not."""
        return self.has_high != any(state.tokens.shape[1] for state in self.low)
