"""The memory as a value: a tuple with one `State` a layer, handed in and handed back, never changed in place."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from malt.memory.exact import without_autocast


class State(NamedTuple):
    """What one layer remembers of each video of a batch.

    tokens: (b, m, d). valid: (b, m), False where a place has not been written yet; nothing attends to such a place.
    """

    tokens: Float[Tensor, "b m d"]
    valid: Bool[Tensor, "b m"]


Memory = tuple[State, ...]


class KeysValues(NamedTuple):
    """Keys and values (b, m, heads, head_dim) that are made already, and which of them count (b, m); None where all do.

    kept: which of a memory's places they are of, where those that no video has written are left out; None where they are not.
    """

    keys: Float[Tensor, "b m k c"]
    values: Float[Tensor, "b m k c"]
    valid: Bool[Tensor, "b m"] | None
    kept: Bool[Tensor, " n"] | None = None

    def counting(self) -> Bool[Tensor, "b m"]:
        """Which of the places count, written out."""
        return self.keys.new_ones(self.keys.shape[:2], dtype=torch.bool) if self.valid is None else self.valid


class LayerCache(NamedTuple):
    """Keys and values that a layer made of its memory (None where that has none to give) and, in models of ours, of the caption.

    They stay the same while a segment is denoised, so they are made in the first step and handed on to the others. With the
    caption's, they serve any pass behind the same memory: positions then count from the segment's first frame.
    """

    memory: KeysValues | None
    caption: KeysValues | None = None


KVCache = tuple[LayerCache, ...]


def first_of(cache: KVCache, count: int) -> KVCache | None:
    """The cache of the first of `count` passes that were one batch; None where it serves no other pass."""
    if any(layer.caption is None for layer in cache):
        return None
    return tuple(LayerCache(*(None if part is None else _first(part, count) for part in layer)) for layer in cache)


def _first(part: KeysValues, count: int) -> KeysValues:
    first = len(part.keys) // count
    valid = None if part.valid is None else part.valid[:first]
    return KeysValues(part.keys[:first], part.values[:first], valid, part.kept)


def _map(memory: Memory, function: Callable[[Tensor], Tensor]) -> Memory:
    return tuple(State(function(state.tokens), function(state.valid)) for state in memory)


def detach(memory: Memory) -> Memory:
    """The same memory, through which no gradient flows."""
    return _map(memory, torch.Tensor.detach)


def move(memory: Memory, device: torch.device) -> Memory:
    """The same memory on a device."""
    return _map(memory, lambda tensor: tensor.to(device))


def select(memory: Memory, index: Tensor | slice) -> Memory:
    """The memories of some videos of the batch."""
    return _map(memory, lambda tensor: tensor[index])


def join(memories: Iterable[Memory]) -> Memory:
    """Memories of several batches as those of one."""
    return tuple(
        State(concatenate([s.tokens for s in layer]), concatenate([s.valid for s in layer]))
        for layer in zip(*memories, strict=True)
    )


def concatenate(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """Tensors one behind the other as they are: autocast takes none in half precision on a processor."""
    with without_autocast(tensors[0].device.type):
        return torch.cat(tensors, dim)


def places(state: State, which: slice) -> State:
    """Some of the places of a layer's memory."""
    return State(state.tokens[:, which], state.valid[:, which])


def side_by_side(*states: State) -> State:
    """The places of several states of the same videos as those of one."""
    return State(*(concatenate(list(parts), dim=1) for parts in zip(*states, strict=True)))


def used(state: State) -> Int[Tensor, " b"]:
    """How many places of each video's memory are written."""
    return state.valid.sum(dim=1)


def forget(memory: Memory, which: Bool[Tensor, " b"]) -> Memory:
    """Empty the memories of the videos marked in `which`."""
    return tuple(State(state.tokens, state.valid & ~which[:, None]) for state in memory)


def without_places(memory: Memory) -> Memory:
    """A memory with room for nothing: what an empty memory amounts to, at no cost."""
    return tuple(State(state.tokens[:, :0], state.valid[:, :0]) for state in memory)


def in_half(memory: Memory) -> Memory:
    """What is remembered in two bytes a number: models learn with far more noise on it than this rounding."""
    return tuple(State(s.tokens.half() if s.tokens.dtype == torch.float32 else s.tokens, s.valid) for s in memory)


def num_bytes(memory: Memory) -> int:
    """Size of the memory of all videos of the batch, in bytes."""
    return sum(tensor.numel() * tensor.element_size() for state in memory for tensor in state)


def to_tensors(memory: Memory) -> dict[str, Tensor]:
    """A flat dictionary that safetensors can store; `from_tensors` is its inverse."""
    return {
        f"{layer}.{name}": t.contiguous() for layer, state in enumerate(memory) for name, t in state._asdict().items()
    }


def from_tensors(tensors: dict[str, Tensor]) -> Memory:
    """A memory from the dictionary that `to_tensors` made of it."""
    layers = 1 + max(int(key.split(".")[0]) for key in tensors)
    return tuple(State(tensors[f"{n}.tokens"], tensors[f"{n}.valid"]) for n in range(layers))
