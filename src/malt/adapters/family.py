"""What an adapter asks of a family of pretrained transformers: the few things that differ from one to the next.

How to add a family. Write one small file here with

1. an attention processor: a subclass of the family's own that repeats its `__call__` signature (diffusers drops arguments
   that the signature does not name). Where its rotary argument is a `RotaryWithMemory` it attends to `attended_keys_values`
   beside the segment's own keys and values; everywhere else it calls `super()`, so that an empty memory changes no bit;
2. a class that satisfies `Family`. Its `call` runs the base's own forward: nothing of a forward is ever copied.

Then name the class in `FAMILIES` of `choose.py` and add a tiny model to `tests/tiny_bases.py`: the laws run over all
that stand there. A block's first argument, or `hidden_states`, must be the video's tokens in the order (frame, row, column),
and so must the first thing it gives back; its rotary argument must be a pair of tensors. Families for which the last does not
hold are read behind the block instead and need no processor: write a subclass of `ReadBehind` of `behind.py` that has a name,
a patch and a `call`. A row of `docs/guide/families.md` says what there is to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from malt.memory.protocol import Layout
from malt.memory.state import KeysValues

Tables = tuple[Tensor, Tensor]


@dataclass
class AttendedMemory:
    """What a layer's self-attention sees of its memory, beside the segment's own tokens.

    No tuple, so that what casts and moves a block's arguments hands on this very object.

    Attributes:
        tokens: remembered tokens (b, m, d), normalised and modulated as the layer's own are. None once `made` is known.
        valid: which of them count (b, m); None where all do.
        tables: rotary tables of their positions; None where they lie nowhere in the video.
        made: their keys and values, filled in by the first step of a segment that keeps them and given to the others.
        keeps: whether to fill in `made`; not while learning, where a checkpointed layer runs twice.
    """

    tokens: Tensor | None
    valid: Tensor | None = None
    tables: Tables | None = None
    made: KeysValues | None = None
    keeps: bool = False


class RotaryWithMemory(NamedTuple):
    """A base's rotary tables and, behind them, what is remembered.

    Blocks hand their rotary argument on to their self-attention without looking into it. So the memory gets there as an
    argument of the call, never as state of a module, and its keys are made inside the block, where an offloaded or sharded
    block has its weights.
    """

    cos: Tensor
    sin: Tensor
    memory: AttendedMemory


@runtime_checkable
class Project(Protocol):
    """Makes keys, normalised and turned, and values (b, m, heads, head_dim) of tokens (b, m, d)."""

    def __call__(self, attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]: ...  # noqa: D102


class BaseConditions(NamedTuple):
    """What a base is told beside latents and noise levels.

    text: states of its (first) text encoder (b, n, e). text_mask: which of them count (b, n). added: whatever else the family
    takes, by name. dtype: what the base computes in.
    """

    text: Float[Tensor, "b n e"]
    text_mask: Bool[Tensor, "b n"]
    added: Mapping[str, Tensor]
    dtype: torch.dtype


@runtime_checkable
class Family(Protocol):
    """One family of pretrained transformers.

    Attributes:
        name: by which an adapter's file calls it.
        lists: names of the base's lists of blocks, in the order in which they run.
        levels_per_frame: whether every latent frame may have a noise level of its own.
        takes: names of the added conditions that `call` understands: those of the base's own forward arguments, and
            `known_latents` (b, s, c, h, w) for channels that stand behind those of the latents.
        lora: names of linear layers in the blocks, by what a LoRA may change: `attention` (self-attention), `feed_forward`.
        text_tokens: how many text tokens its pipeline gives the base, padding included; None for as many as there are.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def lists(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def levels_per_frame(self) -> bool: ...  # noqa: D102
    @property
    def takes(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def lora(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102
    @property
    def text_tokens(self) -> int | None: ...  # noqa: D102

    def reads_beside(self, base: Any) -> bool:
        """Whether self-attention can read a memory beside its own keys and values."""
        ...

    def patch(self, base: Any) -> tuple[int, int, int]:
        """Frames, rows and columns of latents in a token."""
        ...

    def width(self, base: Any) -> int:
        """Channels of a token."""
        ...

    def heads(self, base: Any) -> int:
        """Heads of self-attention."""
        ...

    def processors(self, base: Any) -> dict[str, Any]:
        """By the name of each self-attention, a processor that can read a memory; with none it does what the base's did."""
        ...

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """The base's own forward on latents (b, s, c, h, w) at noise levels (b, s) in [0, 1]; their velocity."""
        ...

    def clean(self, base: Any) -> Float[Tensor, "layers 2 d"]:
        """Scale, less 1, and shift that every layer's self-attention gives its input at noise level 0."""
        ...

    def norm(self, tokens: Tensor) -> Tensor:
        """The norm before self-attention, without weights, in float32."""
        ...

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """Rotary tables of a grid of tokens (time, row, column), flattened in this order, in a video laid out like this.

        Places are counted in tokens of that video. Times may be negative (0 is the first frame that the base is given), and
        no place need be whole.
        """
        ...


def attended_keys_values(attn: Any, memory: AttendedMemory, project: Project, like: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of what is remembered, made in the first step of a segment and kept for the others."""
    if memory.made is not None:
        return memory.made.keys, memory.made.values
    if memory.tokens is None:
        raise RuntimeError("a memory has neither tokens nor keys and values")
    keys, values = project(attn, memory.tokens.to(like.dtype), memory.tables)
    if memory.keeps:
        memory.made = KeysValues(keys, values, memory.valid)
    return keys, values


def memory_mask(memory: AttendedMemory, own: Tensor | None, queries: int, keys: int) -> Tensor | None:
    """Which keys count, those of the memory first, (b, 1, queries, m + keys) or broadcastable; None where all do.

    Args:
        memory: what is remembered.
        own: the layer's own mask over its own keys, bool, broadcastable to (b, 1, queries, keys).
        queries: how many ask.
        keys: how many keys the layer has of its own.
    """
    if memory.valid is None and own is None:
        return None
    valid = memory.valid
    if valid is None:
        seen = memory.made.keys if memory.made is not None else memory.tokens
        assert seen is not None and own is not None
        valid = torch.ones(seen.shape[:2], dtype=torch.bool, device=own.device)
    remembered = valid[:, None, None, :].expand(-1, 1, queries, -1)
    if own is None:
        return F.pad(remembered, (0, keys), value=True)
    return torch.cat([remembered, own.expand(len(valid), 1, queries, keys)], dim=-1)
