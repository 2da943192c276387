"""Keys and values of what is remembered: made in the first step of a sampler, and kept until it ends."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from malt.adapters.adapter import MemoryAdapter
from malt.memory.protocol import SteeredMemory
from malt.memory.state import KVCache, Memory

KEPT = "malt_keys"  # among the transformer_options of one sampler's run
Known = tuple[Memory, KVCache | None]


@dataclass
class SegmentKeys:
    """known: what is remembered, where the network computes, and its keys and values; None before the first step."""

    known: Known | None = None


@dataclass
class SamplerKeys:
    """Of one sampler's run, by what a step is given: videos with their passes of guidance, of a size, where they compute."""

    each: dict[Any, SegmentKeys] = field(default_factory=dict)


def with_keys(run_sampler: Any, guider: Any, sigmas: Tensor, told: dict[str, Any], *given: Any, **more: Any) -> Tensor:
    """A sampler's run whose steps share keys; not where hooks change the weights that make them from one step to the next."""
    if not any(condition.get("hooks") for conditions in guider.conds.values() for condition in conditions):
        options = told["model_options"]
        shared = {**options.get("transformer_options", {}), KEPT: SamplerKeys()}
        told = {**told, "model_options": {**options, "transformer_options": shared}}
    latents: Tensor = run_sampler(guider, sigmas, told, *given, **more)
    return latents


def keys_of(adapter: MemoryAdapter, options: dict[str, Any], latents: Tensor) -> SegmentKeys:
    """Those of the steps before; none where nothing is shared, where others run the blocks and may leave some out, or where
    what is seen depends on the caption, as one step may be for the caption and the next for none.
    """
    kept, others = options.get(KEPT), options.get("patches_replace", {}).get("dit")
    by_caption = any(isinstance(layer.memory, SteeredMemory) for layer in adapter.each)
    if not isinstance(kept, SamplerKeys) or others or by_caption:
        return SegmentKeys()
    return kept.each.setdefault((latents.shape, latents.dtype, latents.device), SegmentKeys())
