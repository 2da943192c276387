"""Segments of several videos in one forward pass, whatever segment each of them is at.

Videos fit together whose states have the same shapes: all that have begun with one model, size and kind of memory do. Each
draws its own noise, by its own seed and segment, as it would alone. Its numbers are those that it would have alone up to
rounding: a batch of another size is summed in another order.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from malt.codecs.device import execution_device
from malt.rollouts.base import Rollout, RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from malt.rollouts.noise import video_seeds
from malt.sessions.serialization import map_tensors, put_together, take_apart


@dataclass(frozen=True, kw_only=True)
class NextSegment:
    """A video's next segment: how it is made, from where, and what is done in each of its frames."""

    rollout: Rollout
    state: RolloutState
    actions: Float[Tensor, "t a"] | None = None

    @property
    def shape(self) -> Hashable:
        """What must be the same in videos that are made in one pass; only the way `malt` makes several."""
        if not (isinstance(self.rollout, MaltRollout) and self.rollout.can_join):
            return id(self)
        tensors: list[Tensor] = []
        plain = take_apart(replace(self.state, seed=0, index=0, start=0), tensors)
        phase = self.state.index % self.rollout.memory_update_interval
        caption = [self.rollout.caption.states.shape, *(each.shape for each in self.rollout.caption.added.values())]
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        frames = None if self.actions is None else len(self.actions)
        return str(plain), shapes, str(caption), phase, frames

    def make(self) -> tuple[Segment, RolloutState]:
        """It alone, and the state after it."""
        return self.rollout.advance(self.state, None if self.actions is None else self.actions[None])


def advance_together(
    segments: Sequence[NextSegment], *, between: Callable[[], None] | None = None
) -> list[tuple[Segment, RolloutState]]:
    """The segments of videos whose shapes are the same, each with the state after it.

    Args:
        segments: of one model and the same settings; they may differ in their prompts.
        between: called behind every denoising step; what it raises gives all of them up.

    Raises:
        MaltError: an output is not finite, or memory runs out; every video stands where it stood.
    """
    rollout, first = _joint_rollout(segments, between), segments[0]
    phase = first.state.index % getattr(rollout, "memory_update_interval", 1)
    device = execution_device(rollout.transformer) if isinstance(rollout, MaltRollout) else None
    state = _joined([each.state for each in segments], phase) if len(segments) > 1 else first.state
    state = state if device is None else map_tensors(state, lambda tensor: tensor.to(device))
    done = [each.actions for each in segments if each.actions is not None]
    segment, after = rollout.advance(state, torch.stack(done) if done else None)
    return list(_parted(segment, after, segments)) if len(segments) > 1 else [(segment, after)]


def _joint_rollout(segments: Sequence[NextSegment], between: Callable[[], None] | None) -> Rollout:
    rollout = segments[0].rollout
    if not isinstance(rollout, MaltRollout):
        return rollout
    others = [each.rollout for each in segments if isinstance(each.rollout, MaltRollout)]

    def end_step(index: int, timestep: Tensor, latents: Tensor) -> Tensor:
        if between is not None:
            between()
        return latents

    return replace(rollout.joined(others), on_step_end=end_step)


def _joined(states: Sequence[RolloutState], phase: int) -> RolloutState:
    """One state of them all, at segment `phase`; a segment's noise is that of its seed and number added up."""
    parts = list[list[Tensor]]()
    for state in states:
        parts.append([])
        described = take_apart(replace(state, seed=0, index=phase, start=0), parts[-1])
    joint = put_together(described, [torch.cat(tensors) for tensors in zip(*parts, strict=True)], states[0])
    assert isinstance(joint, RolloutState)
    return replace(joint, seed=tuple(video_seeds(each.seed, 1)[0] + each.index - phase for each in states))


def _parted(
    segment: Segment, after: RolloutState, segments: Sequence[NextSegment]
) -> Iterator[tuple[Segment, RolloutState]]:
    """What each video has of a joint segment, in tensors of its own."""
    for number, each in enumerate(segments):
        place = slice(number, number + 1)
        before = each.state
        own = map_tensors(replace(after, seed=0), lambda tensor, place=place: tensor[place].clone())  # type: ignore[misc]
        frames = segment.frames[place]
        bytes_each = segment.memory_bytes // len(segments)
        yield (
            Segment(before.index, before.start, frames, segment.latents[place], bytes_each),
            replace(own, seed=before.seed, index=before.index + 1, start=before.start + frames.shape[1]),
        )
