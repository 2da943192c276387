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
    """num_pooled: how many earlier segments are kept, a frame each."""

    num_pooled: int = 6

    def __post_init__(self) -> None:
        """Refuse fewer than none."""
        if self.num_pooled < 0:
            raise ValueError(f"a hierarchical memory of {self.num_pooled} pooled segments cannot be; give 0 or more")


class HierarchicalMemory(nn.Module):
    """First in, first out: `num_pooled` pooled segments, a frame each, then the last segment's frames; no parameters."""

    def __init__(self, width: int, num_heads: int, config: HierarchicalConfig = HierarchicalConfig()) -> None:
        super().__init__()
        self.width, self.num_pooled = width, config.num_pooled

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """As many unwritten places as a segment has tokens, and a frame's for every pooled segment."""
        return nothing_written((layout.frames + self.num_pooled) * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The pooled segments as if they were frames, then the last segment, right before this one."""
        return frames_before(state, conditions.layout)

    def write(self, record: SegmentRecord, state: State) -> State:
        """The segment's tokens push out as many of those that were there, which are pooled into a frame."""
        own, per_frame = record.tokens, record.conditions.layout.tokens_per_frame
        valid = torch.ones(own.shape[:2], dtype=torch.bool, device=own.device)
        tokens = torch.cat([state.tokens.to(own.dtype), unit_rms(own)], dim=1)
        valid = torch.cat([state.valid, valid], dim=1)
        start, count = self.num_pooled * per_frame, own.shape[1]
        frame, known = _pool(tokens[:, start : start + count], valid[:, start : start + count], per_frame)
        older = slice(per_frame, start)
        return State(
            torch.cat([tokens[:, older], frame, tokens[:, start + count :]], dim=1),
            torch.cat([valid[:, older], known, valid[:, start + count :]], dim=1),
        )


def _pool(tokens: Tensor, valid: Tensor, tokens_per_frame: int) -> tuple[Tensor, Tensor]:
    """Mean over the frames of what is known at every place of a frame, at unit RMS; and of which places anything is known."""
    frames, known = (rearrange(x, "b (s n) ... -> b s n ...", n=tokens_per_frame) for x in (tokens, valid))
    weight = known[..., None].to(frames.dtype)
    mean = (frames * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return unit_rms(mean), known.any(dim=1)
