"""`add_memory` and `remove_memory`: put an adapter on a pretrained model, and take it off."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.choose import family_of
from malt.adapters.transformer import AdaptedTransformer3DModel
from malt.errors import UsageError


def add_memory(
    pipe_or_transformer: Any, adapter: MemoryAdapter | Mapping[str, object] | None = None
) -> AdaptedTransformer3DModel:
    """Give a pretrained video transformer a memory.

    Args:
        pipe_or_transformer: a transformer of diffusers, or a pipeline that has one. It stays what it is and goes on to work
            by itself.
        adapter: a `MemoryAdapter`, or settings for a new one, such as `{"memory": "slots"}`.

    Returns:
        The transformer with its memory, which is called as `MaltTransformer3DModel` is.

    Raises:
        UsageError: for a base of no known family, or that has an adapter, and for an adapter that was made for another.
    """
    base = _transformer_of(pipe_or_transformer)
    family = family_of(base)
    if isinstance(adapter, MemoryAdapter):
        return AdaptedTransformer3DModel(base, adapter, family).train(base.training)
    made: MemoryAdapter = MemoryAdapter.for_base(base, family, **(adapter or {})).to(base.device)
    return AdaptedTransformer3DModel(base, made, family).train(base.training)


def remove_memory(adapted: AdaptedTransformer3DModel) -> nn.Module:
    """The base as it was before `add_memory`."""
    return adapted.detach()


def _transformer_of(model: Any) -> Any:
    found = model if isinstance(model, nn.Module) else getattr(model, "transformer", None)
    if not isinstance(found, nn.Module):
        raise UsageError(f"a {type(model).__name__} has no transformer; give a transformer or a pipeline that has one")
    return found
