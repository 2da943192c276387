"""The kinds of memory by name: the one place where a recipe's word becomes a module."""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from inspect import signature
from typing import ClassVar, Protocol, runtime_checkable

from malt.memory.bank import BankConfig, BankMemory
from malt.memory.hierarchical import HierarchicalConfig, HierarchicalMemory
from malt.memory.none import NoConfig, NoMemory
from malt.memory.protocol import LayerMemory
from malt.memory.recurrent import RecurrentConfig, RecurrentMemory
from malt.memory.slots import SlotConfig, SlotMemory

Setting = int | float | bool | str


@runtime_checkable
class MemoryConfig(Protocol):
    """The settings of a kind: a frozen dataclass that refuses bad values in a sentence."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


@dataclass(frozen=True)
class MemoryKind:
    """A config, the memory that is built from it, and which setting a model's `memory_size` is."""

    config: Callable[..., MemoryConfig]
    memory: Callable[..., LayerMemory]  # (width, num_heads, config)
    size: str | None = None


KINDS = {
    "recurrent": MemoryKind(RecurrentConfig, RecurrentMemory),
    "hierarchical": MemoryKind(HierarchicalConfig, HierarchicalMemory, size="num_pooled"),
    "slots": MemoryKind(SlotConfig, SlotMemory, size="num_slots"),
    "bank": MemoryKind(BankConfig, BankMemory, size="size"),
    "none": MemoryKind(NoConfig, NoMemory),
}


def memory_config(kind: str, size: int | None = None, settings: Mapping[str, Setting] | None = None) -> MemoryConfig:
    """The config of a kind: its defaults, then `size` for the setting that says how much it holds, then `settings`.

    A kind that is as large as a segment, or as nothing, has no use for `size`.

    Raises:
        ValueError: for a kind or a setting that there is not, or a value that it cannot have.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no memory called {kind!r}; choose one of {', '.join(KINDS)}")
    made, of_size = KINDS[kind].config, KINDS[kind].size
    known = list(signature(made).parameters)
    for name in settings or {}:
        if name not in known:
            raise ValueError(f"a {kind} memory has no setting {name!r}; it takes {', '.join(known) or 'none'}")
    sized = {} if size is None or of_size is None else {of_size: size}
    return made(**{**sized, **(settings or {})})


def build_memory(
    kind: str, width: int, num_heads: int, size: int | None = None, settings: Mapping[str, Setting] | None = None
) -> LayerMemory:
    """One layer's memory of this kind; `size` and `settings` as in `memory_config`.

    Raises:
        ValueError: for a kind or a setting that there is not, or a value that it cannot have.
    """
    config = memory_config(kind, size, settings)
    return KINDS[kind].memory(width, num_heads, config)
