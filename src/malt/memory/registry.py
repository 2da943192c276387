"""The kinds of memory by name: the one place where a recipe's word becomes a module."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass
from difflib import get_close_matches
from inspect import signature
from typing import ClassVar, Protocol, runtime_checkable

from malt.memory.adaptive import AdaptiveConfig, AdaptiveMemory
from malt.memory.bank import BankConfig, BankMemory
from malt.memory.context import ContextConfig, LongContextMemory
from malt.memory.hierarchical import HierarchicalConfig, HierarchicalMemory
from malt.memory.multimodal import MultimodalConfig, MultimodalMemory
from malt.memory.none import NoConfig, NoMemory
from malt.memory.places import PlacesConfig, PlacesMemory
from malt.memory.protocol import LayerMemory
from malt.memory.recurrent import RecurrentConfig, RecurrentMemory
from malt.memory.slots import SlotConfig, SlotMemory
from malt.memory.state_space import StateSpaceConfig, StateSpaceMemory

Setting = int | float | bool | str
WANTED: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


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
    "adaptive": MemoryKind(AdaptiveConfig, AdaptiveMemory, size="cap"),
    "multimodal": MemoryKind(MultimodalConfig, MultimodalMemory, size="num_entries"),
    "context": MemoryKind(ContextConfig, LongContextMemory, size="num_segments"),
    "state_space": MemoryKind(StateSpaceConfig, StateSpaceMemory, size="state_size"),
    "slots": MemoryKind(SlotConfig, SlotMemory, size="num_slots"),
    "bank": MemoryKind(BankConfig, BankMemory, size="size"),
    "places": MemoryKind(PlacesConfig, PlacesMemory, size="num_views"),
    "none": MemoryKind(NoConfig, NoMemory),
}


def memory_config(kind: str, size: int | None = None, settings: Mapping[str, Setting] | None = None) -> MemoryConfig:
    """The config of a kind: its defaults, then `size` for the setting that says how much it holds, then `settings`.

    A kind that is as large as a segment, or as nothing, has no use for `size`.

    Raises:
        ValueError: for a kind or a setting that there is not, or a value that it cannot have.
    """
    if kind not in KINDS:
        meant = _nearest(kind, KINDS)
        raise ValueError(f"there is no memory called {kind!r}{meant}; choose one of {', '.join(KINDS)}")
    made, of_size = KINDS[kind].config, KINDS[kind].size
    for name, value in (settings or {}).items():
        _check_setting(kind, name, value)
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


def _check_setting(kind: str, name: str, value: Setting) -> None:
    known = signature(KINDS[kind].config).parameters
    if name not in known:
        takes = ", ".join(known) or "none"
        raise ValueError(
            f"a memory of the kind {kind} has no setting {name!r}{_nearest(name, known)}; it takes {takes}"
        )
    wanted = known[name].annotation
    if wanted in WANTED and type(value) is not wanted and (wanted, type(value)) != (float, int):
        raise ValueError(f"{name} of a memory of the kind {kind} is {value!r}; give {WANTED[wanted]}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """What was probably meant, as part of a sentence."""
    near = get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}" if near else ""
