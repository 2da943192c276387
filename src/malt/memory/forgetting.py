"""Takes out of a memory what resembles another, entry by entry: how something is forgotten by hand."""

from collections.abc import Iterable

import torch

from malt.memory.protocol import EntryMemory, LayerMemory, Layout
from malt.memory.similar_tokens import without_alike
from malt.memory.state import Memory


@torch.no_grad()
def without(memory: Memory, gone: Memory, modules: Iterable[LayerMemory], layout: Layout) -> Memory:
    """A memory without what resembles anything in `gone`, layer by layer; what is left stays in its place."""
    return tuple(
        module.forget(state, other, layout) if isinstance(module, EntryMemory) else without_alike(state, other)
        for module, state, other in zip(modules, memory, gone, strict=True)
    )
