"""`context`: the tokens of the last segments as they are; the reference by which compact memories are judged."""

from dataclasses import dataclass

from torch import Tensor, nn

from malt.memory.protocol import (
    Conditions,
    ContextTokens,
    Layout,
    SegmentRecord,
    frames_before,
    nothing_written,
    with_segment,
)
from malt.memory.state import State, places


@dataclass(frozen=True, kw_only=True)
class ContextConfig:
    """num_segments: how many of the last segments are kept."""

    num_segments: int = 20

    def __post_init__(self) -> None:
        """Refuse a context of none."""
        if self.num_segments < 1:
            raise ValueError(f"a context of {self.num_segments} segments cannot be; give at least 1")


class LongContextMemory(nn.Module):
    """First in, first out, token by token; no parameters. One segment of it is what `recurrent` keeps."""

    def __init__(self, width: int, num_heads: int, config: ContextConfig = ContextConfig()) -> None:
        super().__init__()
        self.width, self.num_segments = width, config.num_segments

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """As many unwritten places as so many segments have tokens."""
        return nothing_written(self.num_segments * layout.frames * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The segments, right before this one."""
        return frames_before(state, conditions.layout)

    def write(self, record: SegmentRecord, state: State) -> State:
        """The segment's own tokens push out as many of the oldest."""
        return places(with_segment(state, record), slice(record.tokens.shape[1], None))
