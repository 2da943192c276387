"""The seam between a block and its memory: what every kind of memory can do.

How to add a kind. Write a module here with two classes: a frozen config that refuses bad values in a sentence, and an
`nn.Module` built from (width, num_heads, config) that has `empty` and `write`, and either `context` (`ContextMemory`) or
`read` (`ResidualMemory`). Name both in `KINDS` of the registry. Blocks, rollouts, training and sessions then take it as it
is: they only pass the `State` on. All that a kind knows of a video must be in that state, and nothing of it may be kept
in the module: with gradient checkpointing a layer runs twice.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from malt.memory.state import State, side_by_side


@dataclass(frozen=True)
class Layout:
    """Frames, rows and columns of tokens, and how many of the first frames are context: what the memory saw last."""

    frames: int
    rows: int
    columns: int
    num_context: int = 0

    @property
    def tokens_per_frame(self) -> int:
        """Tokens in a latent frame."""
        return self.rows * self.columns

    @property
    def times(self) -> tuple[int, ...]:
        """The time of each frame, counted from the first that is no context."""
        return tuple(range(-self.num_context, self.frames - self.num_context))

    def coarse(self, side: int) -> "Layout":
        """The same with one token for every `side` x `side` of these; those at the edge may stand for fewer."""
        return replace(self, rows=-(-self.rows // side), columns=-(-self.columns // side))


class Conditions(NamedTuple):
    """What is known of a pass beside its latents.

    layout: how its tokens lie. caption: the text encoder's states. caption_mask: which of them count. actions: what is
    done in every latent frame, for models that take actions. motion: the pose at the end of every latent frame, as seen from the
    end of the context (`malt.memory.poses`), for models that know how their actions move them.
    """

    layout: Layout
    caption: Float[Tensor, "b c e"]
    caption_mask: Bool[Tensor, "b c"]
    actions: Float[Tensor, "b s a"] | None = None
    motion: Float[Tensor, "b s 4"] | None = None


class SegmentRecord(NamedTuple):
    """A finished segment as a layer knows it: its hidden states, context first, and what is known beside them."""

    hidden: Float[Tensor, "b n d"]
    conditions: Conditions

    @property
    def tokens(self) -> Float[Tensor, "b m d"]:
        """The hidden states without those of the context, which the memory has seen before."""
        layout = self.conditions.layout
        return self.hidden[:, layout.num_context * layout.tokens_per_frame :]


class ContextTokens(NamedTuple):
    """Remembered tokens that stand beside a segment's own as keys and values.

    times: where the tokens are whole frames (frame, row, column), the time of each frame, counted in latent frames from the
    segment's first; they then share the segment's positions and its spatial windows. None: the tokens lie nowhere in the
    video, and are seen from everywhere. num_coarse: how many of the first frames have only one token for every `side` x `side`
    of the segment's.
    """

    tokens: Float[Tensor, "b m d"]
    valid: Bool[Tensor, "b m"]
    times: tuple[int, ...] | None = None
    num_coarse: int = 0
    side: int = 1

    def grids(self, layout: Layout) -> "list[ContextTokens]":
        """The parts whose frames are all coarse or all fine, in the order of their tokens; of a segment laid out like this."""
        if self.times is None or not self.num_coarse or self.side == 1:
            return [ContextTokens(self.tokens, self.valid, self.times)]
        coarse = self.num_coarse * layout.coarse(self.side).tokens_per_frame
        first, rest = self.times[: self.num_coarse], self.times[self.num_coarse :]
        return [
            ContextTokens(self.tokens[:, :coarse], self.valid[:, :coarse], first, len(first), self.side),
            ContextTokens(self.tokens[:, coarse:], self.valid[:, coarse:], rest),
        ]


@runtime_checkable
class LayerMemory(Protocol):
    """A kind of memory, one module a layer.

    A state without places (`without_places`) must read as an empty one: it stands where nothing will ever be written.
    """

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """A memory in which nothing has been written, on the device and in the type of `like`."""
        ...

    def write(self, record: SegmentRecord, state: State) -> State:
        """The memory after a segment, of the same size as `state`."""
        ...


@runtime_checkable
class ContextMemory(LayerMemory, Protocol):
    """A memory whose tokens join the layer's attention, as keys and values beside those of the segment."""

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """What is attended to while a segment is denoised under these conditions; asked once a segment."""
        ...


@runtime_checkable
class SteeredMemory(ContextMemory, Protocol):
    """A memory that shows what was written under such a caption as that of now, and so need not be emptied for a new one."""

    def relevance(self, state: State, conditions: Conditions) -> Float[Tensor, "b e"]:
        """How near the caption of each entry is to that of now, from -1 to 1; what is above 0 may be read."""
        ...


@runtime_checkable
class EntryMemory(LayerMemory, Protocol):
    """A memory that knows what an entry of it is; of others, each token is one that may be forgotten."""

    def forget(self, state: State, gone: State, layout: Layout) -> State:
        """The memory without the entries that resemble what another one, `gone`, holds."""
        ...


@runtime_checkable
class ResidualMemory(LayerMemory, Protocol):
    """A memory that adds what it has to say to the hidden state, behind the layer's attention."""

    def read(self, hidden: Float[Tensor, "b n d"], state: State, conditions: Conditions) -> Float[Tensor, "b n d"]:
        """The hidden state with what is remembered added to it; exactly `hidden` while nothing is."""
        ...


def nothing_written(places: int, width: int, batch: int, like: Tensor) -> State:
    """A state of so many places, none of them written."""
    valid = torch.zeros(batch, places, dtype=torch.bool, device=like.device)
    return State(like.new_zeros(batch, places, width), valid)


def frames_before(
    state: State, layout: Layout, num_timeless: int = 0, num_coarse: int = 0, side: int = 1
) -> ContextTokens:
    """The state's tokens as the frames right before the segment, oldest first.

    The first few all stand at the time before those; the first `num_coarse` have one token for `side` x `side` places.
    """
    coarse = num_coarse * layout.coarse(side).tokens_per_frame
    count = num_coarse + (state.tokens.shape[1] - coarse) // layout.tokens_per_frame
    first = num_timeless - 1 - count if num_timeless else -count
    return ContextTokens(*state, tuple(max(time, first) for time in range(-count, 0)), num_coarse, side)


def with_segment(state: State, record: SegmentRecord) -> State:
    """The places of a memory, and behind them those of a finished segment, at unit RMS."""
    own = State(unit_rms(record.tokens), torch.ones_like(record.tokens[..., 0], dtype=torch.bool))
    return side_by_side(State(state.tokens.to(own.tokens.dtype), state.valid), own)


def unit_rms(tokens: Tensor) -> Tensor:
    """Scale every token to unit root mean square, so that noise on a memory has one meaning in every layer."""
    return tokens * torch.rsqrt(tokens.float().square().mean(dim=-1, keepdim=True) + 1e-6).to(tokens.dtype)
