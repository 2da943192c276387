"""`recurrent`: the layer remembers its own tokens of the last clean segment, which had read the memory before them.

What is stored is what left the layer, after its attention has read the memory. So a layer can hand on what it read in the
same layer, segment after segment, without end. (Storing what enters the layer, as Transformer-XL does, lifts everything by
one layer a segment, and it falls off the top after as many segments as there are layers.)
"""

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
class RecurrentConfig:
    """No settings: the memory is as large as a segment."""


class RecurrentMemory(nn.Module):
    """Keys and values of the next segment include the tokens of this one; writing costs no parameter and no operation."""

    def __init__(self, width: int, num_heads: int, config: RecurrentConfig = RecurrentConfig()) -> None:
        super().__init__()
        self.width = width

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """As many unwritten places as a segment has tokens."""
        return nothing_written(layout.frames * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The last segment, right before this one."""
        return frames_before(state, conditions.layout)

    def write(self, record: SegmentRecord, state: State) -> State:
        """The segment's own tokens take the place of what was remembered (a shorter segment's, of its oldest part)."""
        return places(with_segment(state, record), slice(record.tokens.shape[1], None))
