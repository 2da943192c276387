"""`none`: nothing is remembered; the ablation, whose short-term context is all it has."""

from dataclasses import dataclass

from torch import Tensor, nn

from malt.memory.protocol import Layout, SegmentRecord, nothing_written
from malt.memory.state import State


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """No settings."""


class NoMemory(nn.Module):
    """A memory of no places, which has nothing to say."""

    def __init__(self, width: int, num_heads: int, config: NoConfig = NoConfig()) -> None:
        super().__init__()
        self.width = width

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """No places at all."""
        return nothing_written(0, self.width, batch, like)

    def write(self, record: SegmentRecord, state: State) -> State:
        """Still nothing."""
        return state
