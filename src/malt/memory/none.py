"""`none`: nothing is remembered; the ablation, whose short-term context is all it has."""

import torch
from torch import Tensor, nn

from malt.memory.protocol import Grid
from malt.memory.state import State


class NoMemory(nn.Module):
    """A memory of no places."""

    joins, positioned = False, False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def empty(self, batch: int, grid: Grid, like: Tensor) -> State:
        """No places at all."""
        return State(like.new_zeros(batch, 0, self.width), torch.zeros(batch, 0, dtype=torch.bool, device=like.device))

    def read(self, hidden: Tensor, state: State) -> Tensor:
        """The identity."""
        return hidden

    def write(self, hidden: Tensor, state: State, cells: int) -> State:
        """Still nothing."""
        return state
