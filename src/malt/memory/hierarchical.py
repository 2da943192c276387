"""`hierarchical`: the last segment as it is, and those before it with all their frames pooled into one (ours).

A shape that is hidden for five segments is told of by the segment in which it was last seen, directly: nothing has to be
handed on from segment to segment, which `recurrent` learns slowly. What is stored is what left the layer, as there.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from malt.memory.novelty import Novelty, keep_new_frame
from malt.memory.protocol import (
    Conditions,
    ContextTokens,
    Layout,
    SegmentRecord,
    frames_before,
    nothing_written,
    unit_rms,
    with_segment,
)
from malt.memory.state import State, places, side_by_side


@dataclass(frozen=True, kw_only=True)
class HierarchicalConfig:
    """num_pooled: how many earlier segments are kept, a frame each. sink: how many of the first ones stay for good.

    archive: how many frames' places there are for what falls out of the pooled ones and is new. threshold: the cosine from
    which on a token resembles one that is in the archive, and is not new. pooled_side: of all but the last segment, one token
    stands for so many rows and columns.
    """

    num_pooled: int = 6
    sink: int = 0
    archive: int = 0
    threshold: float = 0.9
    pooled_side: int = 1

    def __post_init__(self) -> None:
        """Refuse fewer than none."""
        if self.pooled_side < 1:
            raise ValueError(f"a pooled_side of {self.pooled_side} tokens cannot be; give 1 or more")
        if self.num_pooled < 0:
            raise ValueError(f"a hierarchical memory of {self.num_pooled} pooled segments cannot be; give 0 or more")
        if self.sink < 0:
            raise ValueError(f"a sink of {self.sink} segments cannot be; give 0 or more")
        if self.archive < 0:
            raise ValueError(f"an archive of {self.archive} frames cannot be; give 0 or more")
        Novelty(threshold=self.threshold)


class HierarchicalMemory(nn.Module):
    """First in, first out: `num_pooled` pooled segments, a frame each, then the last segment's frames; no parameters.

    With a sink there are so many frames more before the pooled ones. It fills as if it were part of them, and then holds: the
    first segments stay, at times that are right before those of the oldest pooled frame, however long ago they were.
    With an archive, what then falls out is kept where it is new, place by place. The archive is before all others, at one
    time. Only when it is full is something lost: of the two tokens that resemble each other most, the newer one.
    """

    def __init__(self, width: int, num_heads: int, config: HierarchicalConfig = HierarchicalConfig()) -> None:
        super().__init__()
        self.width, self.archive, self.sink = width, config.archive, config.sink
        self.num_earlier = config.archive + config.sink + config.num_pooled
        self.novelty, self.side = Novelty(threshold=config.threshold), config.pooled_side

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """As many unwritten places as a segment has tokens, and a frame's for every other frame that may be kept."""
        earlier = self.num_earlier * layout.coarse(self.side).tokens_per_frame
        return nothing_written(earlier + layout.frames * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The pooled segments as if they were frames, then the last segment, right before this one."""
        return frames_before(state, conditions.layout, self.archive, self.num_earlier, self.side)

    def write(self, record: SegmentRecord, state: State) -> State:
        """The segment's tokens push out as many of those that were there, which are pooled into a frame."""
        if not state.tokens.shape[1]:
            return state  # it has no places, since nothing will be written
        layout, count = record.conditions.layout, record.tokens.shape[1]
        per_frame = layout.coarse(self.side).tokens_per_frame
        archived, earlier = self.archive * per_frame, self.num_earlier * per_frame
        last = with_segment(places(state, slice(earlier, None)), record)
        frame = coarsen(pool(places(last, slice(count)), layout.tokens_per_frame), layout, self.side)
        queue = side_by_side(places(state, slice(archived, earlier)), frame)
        fallen, stays = _push(queue, self.sink * per_frame, per_frame)
        stored = places(state, slice(archived))
        stored = keep_new_frame(stored, fallen, self.novelty) if archived else stored
        return side_by_side(stored, *stays, places(last, slice(count, None)))


def pool(frames: State, per_frame: int) -> State:
    """Mean over the frames of what is known at every place of a frame, at unit RMS; and of which places anything is known."""
    tokens, known = (x.unflatten(1, (-1, per_frame)) for x in frames)
    weight = known[..., None].to(tokens.dtype)
    mean = (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return State(unit_rms(mean), known.any(dim=1))


def coarsen(frame: State, layout: Layout, side: int) -> State:
    """Mean over every `side` x `side` places of a frame of what is known there, at unit RMS; and of which anything is known."""
    if side == 1:
        return frame
    tokens, known = (
        rearrange(x, "b (r c) d -> b d r c", r=layout.rows) for x in (frame.tokens, frame.valid[..., None])
    )
    weight = known.to(tokens.dtype)
    share, mean = (F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False) for x in (weight, tokens * weight))
    mean = rearrange(mean / share.clamp(min=side**-2), "b d r c -> b (r c) d")
    return State(unit_rms(mean), rearrange(share > 0, "b 1 r c -> b (r c)"))


def _push(queue: State, held: int, per_frame: int) -> tuple[State, list[State]]:
    """What falls out and what stays: the oldest frame goes, or where the sink of `held` places is full, the one behind it."""
    behind = held + per_frame
    fallen, rest = places(queue, slice(held, behind)), places(queue, slice(behind, None))
    if not held:
        return fallen, [rest]
    full = queue.valid[:, :per_frame].any(dim=1)
    holding, shifted = places(queue, slice(held)), places(queue, slice(per_frame, behind))
    tokens = torch.where(full[:, None, None], holding.tokens, shifted.tokens)
    valid = torch.where(full[:, None], holding.valid, shifted.valid)
    return State(fallen.tokens, fallen.valid & full[:, None]), [State(tokens, valid), rest]
