"""The kinds of memory by name: the one place where a recipe's word becomes a module."""

from collections.abc import Callable

from malt.memory.bank import BankMemory
from malt.memory.hierarchical import HierarchicalMemory
from malt.memory.none import NoMemory
from malt.memory.protocol import LayerMemory
from malt.memory.recurrent import RecurrentMemory
from malt.memory.slots import SlotMemory

KINDS: dict[str, Callable[[int, int, int | None], LayerMemory]] = {
    "recurrent": lambda width, heads, size: RecurrentMemory(width),
    "hierarchical": lambda width, heads, size: HierarchicalMemory(width, 6 if size is None else size),
    "slots": lambda width, heads, size: SlotMemory(width, heads, size or 32),
    "bank": lambda width, heads, size: BankMemory(width, heads, size or 1024),
    "none": lambda width, heads, size: NoMemory(width),
}


def build_memory(kind: str, width: int, num_heads: int, size: int | None = None) -> LayerMemory:
    """One layer's memory of this kind; `size` is its number of slots, places or pooled segments (None: the kind's default).

    Raises:
        ValueError: for a kind there is not, or a size that it cannot have.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no memory called {kind!r}; choose one of {', '.join(KINDS)}")
    return KINDS[kind](width, num_heads, size)
