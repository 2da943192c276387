"""`hierarchical`: the last segment as it is, and those before it with all their frames pooled into one (ours).

A shape that is hidden for five segments is told of by the segment in which it was last seen, directly: nothing has to be
handed on from segment to segment, which `recurrent` learns slowly. What is stored is what left the layer, as there.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from malt.memory.protocol import (
    Conditions,
    ContextTokens,
    Layout,
    SegmentRecord,
    frames_before,
    nothing_written,
    unit_rms,
)
from malt.memory.state import State


@dataclass(frozen=True, kw_only=True)
class HierarchicalConfig:
    """num_pooled: how many earlier segments are kept, a frame each. sink: how many of the first ones stay for good."""

    num_pooled: int = 6
    sink: int = 0

    def __post_init__(self) -> None:
        """Refuse fewer than none."""
        if self.num_pooled < 0:
            raise ValueError(f"a hierarchical memory of {self.num_pooled} pooled segments cannot be; give 0 or more")
        if self.sink < 0:
            raise ValueError(f"a sink of {self.sink} segments cannot be; give 0 or more")


class HierarchicalMemory(nn.Module):
    """First in, first out: `num_pooled` pooled segments, a frame each, then the last segment's frames; no parameters.

    With a sink there are so many frames more before the pooled ones. It fills as if it were part of them, and then holds: the
    first segments stay, at times that are right before those of the oldest pooled frame, however long ago they were.
    """

    def __init__(self, width: int, num_heads: int, config: HierarchicalConfig = HierarchicalConfig()) -> None:
        super().__init__()
        self.width, self.sink, self.num_earlier = width, config.sink, config.sink + config.num_pooled

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """As many unwritten places as a segment has tokens, and a frame's for every pooled segment."""
        return nothing_written((layout.frames + self.num_earlier) * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The pooled segments as if they were frames, then the last segment, right before this one."""
        return frames_before(state, conditions.layout)

    def write(self, record: SegmentRecord, state: State) -> State:
        """The segment's tokens push out as many of those that were there, which are pooled into a frame."""
        if not state.tokens.shape[1]:
            return state  # it has no places, since nothing will be written
        own, per_frame = record.tokens, record.conditions.layout.tokens_per_frame
        valid = torch.ones(own.shape[:2], dtype=torch.bool, device=own.device)
        tokens = torch.cat([state.tokens.to(own.dtype), unit_rms(own)], dim=1)
        valid = torch.cat([state.valid, valid], dim=1)
        start, count = self.num_earlier * per_frame, own.shape[1]
        frame, known = _pool(tokens[:, start : start + count], valid[:, start : start + count], per_frame)
        held = self.sink * per_frame
        earlier = _push(torch.cat([tokens[:, :start], frame], dim=1), valid[:, :per_frame], held)
        known = _push(torch.cat([valid[:, :start], known], dim=1), valid[:, :per_frame], held)
        return State(
            torch.cat([earlier, tokens[:, start + count :]], dim=1),
            torch.cat([known, valid[:, start + count :]], dim=1),
        )


def _pool(tokens: Tensor, valid: Tensor, tokens_per_frame: int) -> tuple[Tensor, Tensor]:
    """Mean over the frames of what is known at every place of a frame, at unit RMS; and of which places anything is known."""
    frames, known = (rearrange(x, "b (s n) ... -> b s n ...", n=tokens_per_frame) for x in (tokens, valid))
    weight = known[..., None].to(frames.dtype)
    mean = (frames * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return unit_rms(mean), known.any(dim=1)


def _push(frames: Tensor, first: Tensor, held: int) -> Tensor:
    """The frames without the oldest one; where the sink is full (its `first` frame is there), without the one behind it."""
    per_frame = first.shape[1]
    shifted = frames[:, per_frame:]
    if not held:
        return shifted
    full = first.any(dim=1).view(-1, *(1,) * (frames.ndim - 1))
    return torch.where(full, torch.cat([frames[:, :held], frames[:, held + per_frame :]], dim=1), shifted)
