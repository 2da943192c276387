"""`adaptive`: as many places as the content needs: what is new takes one, what resembles what is there is merged into it.

The last segment is kept as it is, so that motion goes on. What it pushes out is compared with what is stored at the same
place of the frame, token by token: a wall that stands takes one entry for good, a thing that passes takes a few.
`state.used` says how many places are taken.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from malt.memory.novelty import Novelty, keep_new_frame
from malt.memory.protocol import (
    Conditions,
    ContextTokens,
    Layout,
    SegmentRecord,
    frames_before,
    nothing_written,
    with_segment,
)
from malt.memory.state import State, places, side_by_side


@dataclass(frozen=True, kw_only=True)
class AdaptiveConfig:
    """floor and cap: how many entries each place of a frame has at least, once so much was written, and at most.

    threshold: the cosine from which on a token resembles an entry. merge: how far the entry then moves towards it.
    """

    floor: int = 1
    cap: int = 8
    threshold: float = 0.9
    merge: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a cap below the floor, or of none."""
        if self.cap < 1 or self.floor > self.cap:
            raise ValueError(f"floor is {self.floor} and cap {self.cap}; give a cap of at least 1, not below the floor")
        Novelty(self.threshold, self.merge, self.floor)


class AdaptiveMemory(nn.Module):
    """`cap` entries for every place of a frame, of which as many are written as the content needs; no parameters."""

    def __init__(self, width: int, num_heads: int, config: AdaptiveConfig = AdaptiveConfig()) -> None:
        super().__init__()
        self.width, self.cap = width, config.cap
        self.novelty = Novelty(config.threshold, config.merge, config.floor)

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """Places for `cap` frames and for a segment, none of them written."""
        return nothing_written((self.cap + layout.frames) * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The entries, at one time however old they are, and behind them the last segment."""
        return frames_before(state, conditions.layout, num_timeless=self.cap)

    def write(self, record: SegmentRecord, state: State) -> State:
        """What the segment pushes out goes to the entries, frame after frame."""
        if not state.tokens.shape[1]:
            return state  # it has no places, since nothing will be written
        per_frame = record.conditions.layout.tokens_per_frame
        known, start, count = with_segment(state, record), self.cap * per_frame, record.tokens.shape[1]
        entries = places(known, slice(start))
        for first in range(start, start + count, per_frame):
            entries = keep_new_frame(entries, places(known, slice(first, first + per_frame)), self.novelty)
        return side_by_side(entries, places(known, slice(start + count, None)))
