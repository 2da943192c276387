"""`hierarchical`: the last segment as it is, and those before it with all their frames pooled into one (ours).

A shape that is hidden for five segments is told of by the segment in which it was last seen, directly: nothing has to be
handed on from segment to segment, which `recurrent` learns slowly. What is stored is what left the layer, as there.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from malt.memory.protocol import Grid, unit_rms
from malt.memory.state import State


class HierarchicalMemory(nn.Module):
    """First in, first out: `num_pooled` pooled segments, a frame each, then the last segment's frames; no parameters."""

    joins, positioned = True, True

    def __init__(self, width: int, num_pooled: int = 6) -> None:
        super().__init__()
        self.width, self.num_pooled = width, num_pooled

    def empty(self, batch: int, grid: Grid, like: Tensor) -> State:
        """As many unwritten places as a segment has tokens, and a frame's for every pooled segment."""
        places = (grid[0] + self.num_pooled) * grid[1] * grid[2]
        return State(
            like.new_zeros(batch, places, self.width), torch.zeros(batch, places, dtype=torch.bool, device=like.device)
        )

    def read(self, hidden: Tensor, state: State) -> Tensor:
        """The identity: the tokens join the attention instead."""
        return hidden

    def write(self, hidden: Tensor, state: State, cells: int) -> State:
        """The segment's tokens push out as many of those that were there, which are pooled into a frame."""
        valid = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        tokens = torch.cat([state.tokens.to(hidden.dtype), unit_rms(hidden)], dim=1)
        valid = torch.cat([state.valid, valid], dim=1)
        start, count = self.num_pooled * cells, hidden.shape[1]
        frame, known = _pool(tokens[:, start : start + count], valid[:, start : start + count], cells)
        older = slice(cells, start)
        return State(
            torch.cat([tokens[:, older], frame, tokens[:, start + count :]], dim=1),
            torch.cat([valid[:, older], known, valid[:, start + count :]], dim=1),
        )


def _pool(tokens: Tensor, valid: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Mean over the frames of what is known of every cell, at unit RMS; and of which cells anything is known."""
    frames, known = (rearrange(x, "b (s n) ... -> b s n ...", n=cells) for x in (tokens, valid))
    weight = known[..., None].to(frames.dtype)
    mean = (frames * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return unit_rms(mean), known.any(dim=1)
