"""`recurrent`: the layer remembers its own tokens of the last clean segment, which had read the memory before them.

What is stored is what left the layer, after its attention has read the memory. So a layer can hand on what it read in the
same layer, segment after segment, without end. (Storing what enters the layer, as Transformer-XL does, lifts everything by
one layer a segment, and it falls off the top after as many segments as there are layers.)
"""

import torch
from torch import Tensor, nn

from malt.memory.protocol import Grid, unit_rms
from malt.memory.state import State


class RecurrentMemory(nn.Module):
    """Keys and values of the next segment include the tokens of this one; writing costs no parameter and no operation."""

    joins, positioned = True, True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def empty(self, batch: int, grid: Grid, like: Tensor) -> State:
        """As many unwritten places as a segment has tokens."""
        places = grid[0] * grid[1] * grid[2]
        return State(
            like.new_zeros(batch, places, self.width), torch.zeros(batch, places, dtype=torch.bool, device=like.device)
        )

    def read(self, hidden: Tensor, state: State) -> Tensor:
        """The identity: the tokens join the attention instead."""
        return hidden

    def write(self, hidden: Tensor, state: State, cells: int) -> State:
        """The segment's own tokens take the place of what was remembered (a shorter segment's, of its oldest part)."""
        valid = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        tokens = torch.cat([state.tokens.to(hidden.dtype), unit_rms(hidden)], dim=1)[:, hidden.shape[1] :]
        return State(tokens, torch.cat([state.valid, valid], dim=1)[:, hidden.shape[1] :])
