"""A transformer block: attention with memory, cross-attention to the caption, feed-forward; modulated frame by frame."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.memory.kinds import build_memory
from malt.memory.protocol import LayerMemory
from malt.memory.state import Recalled, State
from malt.models.attention import MaltAttention
from malt.models.positions import Rotation, rotation, split_axes
from malt.models.windows import Layout, Windows


class MaltBlock(nn.Module):
    """One layer. `window` (rows, columns) confines space-time attention; `over_time` False confines it to each frame."""

    memory: LayerMemory

    def __init__(
        self,
        width: int,
        num_heads: int,
        caption_width: int,
        mlp_ratio: float,
        memory: str,
        memory_size: int | None,
        over_time: bool = True,
        window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.over_time, self.window = over_time, window if over_time else None
        self.head_dim = width // num_heads
        split_axes(self.head_dim)  # refuses heads that cannot turn, before there are any weights
        self.modulation = nn.Parameter(torch.zeros(6, width))
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn1 = MaltAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.attn2 = MaltAttention(width, num_heads, caption_width)
        self.norm3 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        hidden = int(width * mlp_ratio)
        self.ff = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.memory = build_memory(memory if over_time else "none", width, num_heads, memory_size)
        self.memory_mark = nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.attn2.to_out.weight)
        nn.init.zeros_(self.attn2.to_out.bias)

    def forward(
        self,
        hidden: Float[Tensor, "b n d"],
        modulation: Float[Tensor, "b s 6 d"],
        caption: Float[Tensor, "b c e"],
        caption_mask: Tensor,
        known: State | Recalled,
        layout: Layout,
        renew: bool = True,
    ) -> tuple[Float[Tensor, "b n d"], State | Recalled]:
        """The layer's output, and its memory after these tokens; if it is not to be renewed, what was recalled of it."""
        recalled = known if isinstance(known, Recalled) else self._recall(known, layout)
        shift1, scale1, gate1, shift3, scale3, gate3 = (modulation + self.modulation).unbind(dim=2)
        normed = _modulate(self.norm1(hidden), scale1, shift1)
        hidden = hidden + _modulate(self._attend(normed, recalled, layout), gate1)
        hidden = self.memory.read(hidden, recalled.state)
        hidden = hidden + self.attn2(self.norm2(hidden), caption, mask=caption_mask)
        hidden = hidden + _modulate(self.ff(_modulate(self.norm3(hidden), scale3, shift3)), gate3)
        if not renew:
            return hidden, recalled
        cells = layout.rows * layout.columns
        return hidden, self.memory.write(hidden[:, layout.num_context * cells :], recalled.state, cells)

    def _recall(self, state: State, layout: Layout) -> Recalled:
        """The keys and values of what is remembered, where it stands beside the segment's own tokens."""
        places = state.tokens.shape[1]
        if not self.over_time or not self.memory.joins or not places:
            return Recalled(state, None)
        windows = Windows(layout, self.window)
        tokens = state.tokens.to(self.memory_mark.dtype) + self.memory_mark
        if self.memory.positioned:
            frames = places // (layout.rows * layout.columns)
            turn = windows.turn(self._rotation(-frames, frames, layout, tokens))
            return Recalled(state, self.attn1.keys_values(windows.cut(tokens), turn))
        return Recalled(state, self.attn1.keys_values(windows.copy(tokens), None))

    def _attend(self, normed: Tensor, recalled: Recalled, layout: Layout) -> Tensor:
        """Attention to the tokens beside one (in the window, in all frames) and to what is recalled of the memory."""
        if not self.over_time:
            return self._within_frames(normed, layout)
        windows, before = Windows(layout, self.window), recalled.keys_values
        own = windows.cut(normed)
        here = windows.turn(self._rotation(-layout.num_context, layout.frames, layout, normed))
        if before is None:
            return windows.paste(self.attn1(own, own, (here, here)))
        spread = windows.cut if self.memory.positioned else windows.copy
        valid = spread(recalled.state.valid[..., None])[..., 0]
        mask = torch.cat([valid, own.new_ones(own.shape[:2], dtype=torch.bool)], dim=1)
        return windows.paste(self.attn1(own, own, (here, here), mask, before))

    def _rotation(self, start: int, frames: int, layout: Layout, like: Tensor) -> Rotation:
        return rotation(start, frames, layout.rows, layout.columns, self.head_dim, like.device)

    def _within_frames(self, normed: Tensor, layout: Layout) -> Tensor:
        turn = self._rotation(0, 1, layout, normed)
        tokens = rearrange(normed, "b (s n) d -> (b s) n d", s=layout.frames)
        return rearrange(self.attn1(tokens, tokens, (turn, turn)), "(b s) n d -> b (s n) d", s=layout.frames)


def _modulate(x: Float[Tensor, "b n d"], scale: Float[Tensor, "b s d"], shift: Tensor | None = None) -> Tensor:
    """x (1 + scale) + shift, with one scale and one shift for all tokens of a frame."""
    frames = x.unflatten(1, (scale.shape[1], -1)) * (1 + scale[:, :, None])
    return (frames if shift is None else frames + shift[:, :, None]).flatten(1, 2)
