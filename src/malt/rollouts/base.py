"""The seam of everything that makes a long video: a stream of segments, and a state to go on from.

How to add a rollout. Write a frozen dataclass here with the methods of `Rollout` (a way without a memory: derive it from
`Memoryless`, which leaves two of them to you), let `base: MaltRollout` be its first field, so that it shares network, codec,
sampler, steps, guidance and captions with the ways it is measured against, and name it in `ROLLOUTS` of the registry.
Sessions, evaluation, command line and studio ask for nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from malt.memory.state import Memory
from malt.rollouts.noise import Seed


@dataclass(frozen=True)
class Segment:
    """A finished piece of a video.

    index: its number. start: the number of its first frame. frames: (b, t, 3, H, W) in [-1, 1]. latents: what they were
    decoded from, standardised, (b, s, c, h, w). memory_bytes: size of the memory after it; for ways without a memory, of
    the latents and actions that they keep instead.
    """

    index: int
    start: int
    frames: Float[Tensor, "b t 3 H W"]
    latents: Float[Tensor, "b s c h w"]
    memory_bytes: int = 0


# (what was made last, None at first; number of frames that come next) -> what is done in each of them, (b, t, a)
ActionPolicy = Callable[[Segment | None, int], Float[Tensor, "b t a"]]


@dataclass(frozen=True)
class RolloutState:
    """Where a video stands, a value: everything that the next segment depends on.

    seed: what all noise comes from, for each video of the batch (see `noise`). memory: what is remembered; empty for ways
    without. tail: the latest latents, as many as the way looks back at; None before there are any. tail_actions: what was
    done in them, for models that take actions. The caches are the codec's. index, start: numbers of the next segment and
    of its first frame. ahead: latents that have been begun beyond what is finished, for ways that look ahead. num_made:
    segments made since frames were last given, for ways that begin anew behind them. shown: the last frame, for bases that
    go on from a frame alone.
    """

    seed: Seed
    memory: Memory
    tail: Float[Tensor, "b s c h w"] | None = None
    tail_actions: Float[Tensor, "b kept a"] | None = None
    encoder_cache: object = None
    decoder_cache: object = None
    index: int = 0
    start: int = 0
    ahead: tuple[Float[Tensor, "b _ c h w"], ...] = ()
    num_made: int = 0
    shown: Float[Tensor, "b 1 3 H W"] | None = None


@runtime_checkable
class Rollout(Protocol):
    """A way to make a long video. Where a video stands is a value: keep it, go on later, or from there twice."""

    def begin(self, seed: Seed) -> RolloutState:
        """A video of which there is nothing yet; all noise in it comes from the seed, or each video's from its own."""
        ...

    def frames_ahead(self, state: RolloutState) -> int:
        """How many frames the next segment has."""
        ...

    def advance(
        self, state: RolloutState, actions: Float[Tensor, "b t a"] | None = None
    ) -> tuple[Segment, RolloutState]:
        """Make one segment, whole; `actions` says what is done in each of its frames, for models that take actions."""
        ...

    def stream(self, num_frames: int, state: RolloutState, policy: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `state`; the last is cut."""
        ...

    def prefill(
        self, state: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as what has been made so far, segment after segment, each with the state after it."""
        ...

    def rebuild_memory(self, state: RolloutState) -> RolloutState:
        """The same video, its past seen under this rollout's caption: how a new prompt takes over."""
        ...


def stream_segments(
    rollout: Rollout, num_frames: int, state: RolloutState, policy: ActionPolicy | None
) -> Iterator[Segment]:
    """What every rollout's `stream` does: advance until there are enough frames; `policy` sees every segment before."""
    end, segment = state.start + num_frames, None
    while state.start < end:
        actions = None if policy is None else policy(segment, rollout.frames_ahead(state))
        segment, state = rollout.advance(state, actions)
        yield replace(segment, frames=segment.frames[:, : end - segment.start])


def held_bytes(held: object) -> int:
    """Bytes of all tensors in a state or a part of it: memory, latents, actions and caches; what going on takes.

    The same count for every way to make a video. What a forward pass needs while it runs is not in it.
    """
    if isinstance(held, Tensor):
        return held.numel() * held.element_size()
    if is_dataclass(held):
        return sum(held_bytes(getattr(held, part.name)) for part in fields(held))
    if isinstance(held, dict):
        return sum(map(held_bytes, held.values()))
    return sum(map(held_bytes, held)) if isinstance(held, list | tuple) else 0
