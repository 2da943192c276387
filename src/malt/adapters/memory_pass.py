"""How a memory gets to the blocks of a base whose forward knows nothing of it.

A base's forward goes over its blocks by `for block in self.blocks`. While a pass of ours runs, that loop finds every block
bound to the pass, which hands the block its layer's memory inside the rotary argument. Names, parameters and state dict of
the base stay what they were, and without a pass the base does what it always did.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.added_read import AddedRead
from malt.adapters.family import AttendedMemory, Family, RotaryWithMemory, Tables
from malt.adapters.rotary_tables import at_places, tables_of
from malt.memory.protocol import Conditions, ContextTokens
from malt.memory.state import KeysValues, KVCache, LayerCache, Memory, State
from malt.models.capturing import is_capturing


class Blocks(nn.ModuleList):
    """A base's list of blocks; while a pass runs, its forward finds them bound to that pass."""

    def __iter__(self) -> Iterator[Any]:
        running = _RUNNING.get()
        blocks = super().__iter__()
        return blocks if running is None else running.bound(blocks)


@dataclass
class LayerResult:
    """What a layer leaves: its memory after the pass, and keys and values for the next step."""

    state: State
    cache: LayerCache


class MemoryPass:
    """One forward pass: what every layer is handed beside what its base hands it.

    The pass is looked up once, when the base begins to go over its blocks; after that each block has it as an argument. So
    neither recomputation nor the thread of a backward pass ever asks which pass it belongs to.
    """

    def __init__(
        self,
        base: Any,
        adapter: MemoryAdapter,
        family: Family,
        memory: Memory,
        conditions: Conditions,
        cache: KVCache | None,
        update_memory: bool,
    ) -> None:
        self.base, self.layers, self.family = base, adapter.each, family
        self.memory, self.conditions, self.cache, self.update_memory = memory, conditions, cache, update_memory
        self.learning = torch.is_grad_enabled()
        self.begun = 0
        self.tables: dict[tuple[object, ...], Tables | None] = {}
        self.results: list[LayerResult | None] = [None] * len(self.layers)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts, the base's blocks are bound to this pass, in this thread."""
        token = _RUNNING.set(self)
        try:
            yield
        finally:
            _RUNNING.reset(token)

    def finished(self) -> list[LayerResult]:
        """What all layers left."""
        done = [result for result in self.results if result is not None]
        if len(done) != len(self.layers):
            raise RuntimeError(f"the base ran {len(done)} of its {len(self.layers)} blocks")
        return done

    def bound(self, blocks: Iterator[nn.Module]) -> Iterator[Any]:
        """Each block as a function of what its base hands it; where a base has several lists, they follow one another."""
        for block in blocks:
            self.begun += 1
            yield partial(self._run, self.begun - 1, block)

    def _run(self, number: int, block: nn.Module, *given: Any, **named: Any) -> Any:
        def call(attended: AttendedMemory | None) -> Any:
            carried = {name: _carrying(x, attended) for name, x in named.items()}
            return block(*(_carrying(x, attended) for x in given), **carried)

        return self.around(number, given[0] if given else named["hidden_states"], call)

    def around(self, number: int, like: Tensor, call: Callable[[AttendedMemory | None], Any]) -> Any:
        """What a block gives with its memory read, and written where this pass writes.

        Args:
            number: of the block.
            like: the tokens that it is given.
            call: runs it, and lets its self-attention see what is remembered beside these tokens; None for nothing.
        """
        layer, state = self.layers[number], self.memory[number]
        known = self.cache[number].memory if self.cache is not None else None
        found = layer.context(state, self.conditions) if self.cache is None and self._is_read(number) else None
        if layer.added is not None:
            attended = None
            known = self._added(number, layer.added, found) if found is not None else known
        else:
            attended = self._attended(number, found, known, like)
        made = call(attended)
        tokens, *others = made if isinstance(made, tuple) else (made,)
        tokens = layer.read(tokens, state, self.conditions, known)
        if self.update_memory:
            state = layer.write(tokens, state, self.conditions)
        if self.results[number] is None:  # else the layer is being computed again, for its gradient
            self.results[number] = LayerResult(state, LayerCache(known if attended is None else attended.made))
        return (tokens, *others) if isinstance(made, tuple) else tokens

    @cached_property
    def counts(self) -> list["_Counts"]:
        """What every layer has written; not asked for where keys are kept."""
        return _counts(self.memory)

    def _is_read(self, number: int) -> bool:
        """Whether there is anything to see; a layer that learns is always asked, so that all ranks have the same gradients."""
        return self.learning or self.counts[number].any

    def _attended(
        self, number: int, found: ContextTokens | None, known: KeysValues | None, like: Tensor
    ) -> AttendedMemory | None:
        """What the layer's self-attention is to see of its memory."""
        if known is not None:
            return AttendedMemory(None, known.valid, made=known)
        if found is None:
            return None
        layer, device = self.layers[number], like.device
        tables = self._tables(found, device)
        tokens, valid = found.tokens.to(device), found.valid.to(device)
        index = self._written(number, found)
        if index is not None:
            tokens, valid, tables = tokens[:, index], valid[:, index], at_places(tables, index)
        tokens = layer.modulated(self.family.norm(layer.as_seen(tokens))).to(like.dtype)
        return AttendedMemory(
            tokens, valid if self._needs_mask(number, found) else None, tables, keeps=not self.learning
        )

    def _tables(self, found: ContextTokens, device: torch.device) -> Tables | None:
        """Rotary tables of what is remembered, which layers that remember alike share."""
        places = (found.times, found.num_coarse, found.side, device)
        if places not in self.tables:
            self.tables[places] = tables_of(found, self.conditions.layout, self.family, self.base, device)
        return self.tables[places]

    def _added(self, number: int, added: AddedRead, found: ContextTokens) -> KeysValues:
        """What the attention behind a block is to see of its memory."""
        made, index = added.keys_values(found, self.conditions.layout), self._written(number, found)
        if index is not None:
            return KeysValues(made.keys[:, index], made.values[:, index], None)
        return made if self._needs_mask(number, found) else KeysValues(made.keys, made.values, None)

    def _written(self, number: int, found: ContextTokens) -> Tensor | None:
        """The only places to look at, where all videos share them: fewer keys instead of a mask, which kernels like."""
        counts, is_plain = self.counts[number], found.valid is self.memory[number].valid
        if not is_plain or not counts.alike or counts.all or self.learning:
            return None
        return found.valid[0].nonzero()[:, 0]

    def _needs_mask(self, number: int, found: ContextTokens) -> bool:
        counts, is_plain = self.counts[number], found.valid is self.memory[number].valid
        return not is_plain or not (counts.all or (counts.alike and not self.learning))


_RUNNING: ContextVar[MemoryPass | None] = ContextVar("malt_memory_pass", default=None)


@dataclass(frozen=True)
class _Counts:
    """Whether any of a layer's places are written, whether all, and whether the same ones of all videos."""

    any: bool
    all: bool
    alike: bool


def _counts(memory: Memory) -> list[_Counts]:
    """For every layer; one look at the device for the whole pass, and none while a CUDA graph is recorded."""
    if is_capturing():
        return [_Counts(any=True, all=False, alike=False) for _ in memory]
    valids = [state.valid for state in memory]
    flags = torch.stack([torch.stack([v.any(), v.all(), (v == v[:1]).all()]) for v in valids])
    return [_Counts(*layer) for layer in flags.tolist()]


def _carrying(given: Any, attended: AttendedMemory | None) -> Any:
    """An argument of a block; if it is the rotary tables, with what is remembered behind them."""
    is_rotary = isinstance(given, tuple) and len(given) == 2 and all(isinstance(x, Tensor) for x in given)
    return RotaryWithMemory(given[0], given[1], attended) if is_rotary and attended is not None else given
