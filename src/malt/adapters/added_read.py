"""`AddedRead`: attention of its own from a block's output to what is remembered, whose result is added to that output."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.errors import UsageError
from malt.memory.protocol import ContextTokens, Layout, unit_rms
from malt.memory.state import KeysValues
from malt.models.positions import Rotation, rotate, rotation


class AddedRead(nn.Module):
    """hidden + W softmax(q k^T / sqrt(d)) v over what is remembered and a learned place to look when nothing is of use.

    W begins at zero, so that an untrained adapter changes nothing. Positions are our own rotary ones. So it works for bases
    whose self-attention takes no further keys, and for those that have one noise level for all frames.
    """

    def __init__(self, width: int, memory_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, memory_width // num_heads
        if self.head_dim < 8 or self.head_dim % 2:
            raise UsageError(
                f"a memory {memory_width} wide has heads of {self.head_dim} channels; give a width of 8 or more for each"
            )
        self.to_q = nn.Linear(width, memory_width, bias=False)
        self.to_kv = nn.Linear(memory_width, 2 * memory_width, bias=False)
        self.nothing = nn.Parameter(torch.zeros(1, 1, memory_width))
        self.to_out = nn.Linear(memory_width, width, bias=False)
        nn.init.zeros_(self.to_out.weight)

    def keys_values(self, found: ContextTokens, layout: Layout) -> KeysValues:
        """What there is to attend to; the same in all steps of a segment."""
        tokens = found.tokens.to(self.to_kv.weight.dtype)
        keys, values = self.to_kv(tokens).unflatten(-1, (2, self.num_heads, self.head_dim)).unbind(dim=2)
        if found.times is not None:
            keys = rotate(keys, self._positions(found, layout, keys))
        return KeysValues(keys, values, found.valid)

    def forward(self, hidden: Float[Tensor, "b n d"], known: KeysValues, layout: Layout) -> Float[Tensor, "b n d"]:
        """The block's output with what is remembered added to it; exactly that output where nothing is."""
        query = self.to_q(unit_rms(hidden).to(self.to_q.weight.dtype)).unflatten(-1, (self.num_heads, self.head_dim))
        query = rotate(query, self._own_positions(layout, hidden))
        empty = self.to_kv(self.nothing).unflatten(-1, (2, self.num_heads, self.head_dim)).unbind(dim=2)
        keys, values = (
            torch.cat([one.expand(len(hidden), -1, -1, -1), many], dim=1)
            for one, many in zip(empty, (known.keys, known.values), strict=True)
        )
        query, keys, values = (rearrange(x, "b n k d -> b k n d") for x in (query, keys, values))
        counts = None if known.valid is None else F.pad(known.valid, (1, 0), value=True)[:, None, None, :]
        seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=counts)
        said: Tensor = self.to_out(rearrange(seen, "b k n d -> b n (k d)"))
        if known.valid is not None:
            said = said * known.valid.any(dim=1)[:, None, None].to(said.dtype)
        return hidden + said.to(hidden.dtype)

    def _positions(self, found: ContextTokens, layout: Layout, like: Tensor) -> Rotation:
        parts = []
        for grid in found.grids(layout):
            assert grid.times is not None
            rows, columns = layout.coarse(grid.side).rows, layout.coarse(grid.side).columns
            parts.append(rotation(grid.times, rows, columns, self.head_dim, like.device, grid.side))
        return torch.cat(parts)

    def _own_positions(self, layout: Layout, like: Tensor) -> Rotation:
        return rotation(layout.times, layout.rows, layout.columns, self.head_dim, like.device)
