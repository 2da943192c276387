"""`add_memory` and `remove_memory`: put an adapter on a pretrained model, and take it off."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from malt.adapters.adapted_transformer import AdaptedTransformer3DModel
from malt.adapters.adapter import MemoryAdapter
from malt.adapters.choose import family_of
from malt.adapters.family import Family
from malt.adapters.folder import check_base, load_lora, load_weights, read_adapter
from malt.errors import CheckpointError, UsageError


def add_memory(
    pipe_or_transformer: Any, adapter: MemoryAdapter | Mapping[str, Any] | str | Path | None = None
) -> AdaptedTransformer3DModel:
    """Give a pretrained video transformer a memory.

    Args:
        pipe_or_transformer: a transformer of diffusers, or a pipeline that has one. It stays what it is and goes on to work
            by itself.
        adapter: a folder that `save_adapter` wrote, a `MemoryAdapter`, or settings for a new one, as in
            `{"memory": "slots", "memory_width": 64}`.

    Returns:
        The transformer with its memory, which is called as `MaltTransformer3DModel` is.

    Raises:
        UsageError: for a base of no known family, or that has an adapter, and for an adapter that was made for another.
        CheckpointError: for a folder that holds no whole adapter.
    """
    base = _transformer_of(pipe_or_transformer)
    family = family_of(base, getattr(pipe_or_transformer, "scheduler", None))
    if isinstance(adapter, str | Path):
        return _load(base, family, Path(adapter))
    if not isinstance(adapter, MemoryAdapter):
        adapter = MemoryAdapter.for_base(base, family, **(adapter or {})).to(base.device)
    assert isinstance(adapter, MemoryAdapter)
    return AdaptedTransformer3DModel(base, adapter, family).train(base.training)


def _load(base: Any, family: Family, folder: Path) -> AdaptedTransformer3DModel:
    described = read_adapter(folder)
    check_base(described, base)
    adapter = MemoryAdapter(**described.adapter)
    if base.device.type != "meta":  # else it goes to where it is first used
        adapter.to(base.device)
    load_weights(folder, adapter)
    adapted = AdaptedTransformer3DModel(base, adapter, family).train(base.training)
    try:
        if adapter.config.lora_rank:
            load_lora(folder, base)
    except CheckpointError:
        adapted.detach()
        raise
    return adapted


def remove_memory(adapted: AdaptedTransformer3DModel) -> nn.Module:
    """The base as it was before `add_memory`."""
    return adapted.detach()


def _transformer_of(model: Any) -> Any:
    found = model if isinstance(model, nn.Module) else getattr(model, "transformer", None)
    if not isinstance(found, nn.Module):
        raise UsageError(f"{type(model).__name__} has no transformer; give a transformer or a pipeline that has one")
    return found
