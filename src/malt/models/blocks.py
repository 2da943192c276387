"""A transformer block: attention with memory, cross-attention to the caption, feed-forward; modulated frame by frame."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.memory.protocol import LayerMemory
from malt.memory.registry import build_memory
from malt.memory.state import KeysValues, Recalled, State
from malt.models.attention import MaltAttention
from malt.models.positions import Rotation, rotation, split_axes
from malt.models.windows import Layout, Windows

SQRT_2_OVER_PI = 0.7978845608028654


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
        self.ff = nn.Sequential(nn.Linear(width, hidden), Gelu(), nn.Linear(hidden, width))
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
        """The layer's output, and its memory after these tokens; if it is not to be renewed, what was recalled."""
        recalled = known if isinstance(known, Recalled) else self._recall(known, caption, caption_mask, layout)
        shift1, scale1, gate1, shift3, scale3, gate3 = (modulation + self.modulation).unbind(dim=2)
        normed = _modulate(self.norm1(hidden), scale1, shift1)
        hidden = _modulate(self._attend(normed, recalled, layout), gate1, hidden)
        hidden = self.memory.read(hidden, recalled.state)
        hidden = hidden + self.attn2(self.norm2(hidden), [recalled.caption])
        hidden = _modulate(self.ff(_modulate(self.norm3(hidden), scale3, shift3)), gate3, hidden)
        if not renew:
            return hidden, recalled
        cells = layout.rows * layout.columns
        return hidden, self.memory.write(hidden[:, layout.num_context * cells :], recalled.state, cells)

    def _recall(self, state: State, caption: Tensor, caption_mask: Tensor, layout: Layout) -> Recalled:
        """What is attended to besides the segment's own tokens: what is remembered, where it stands there, and the caption."""
        return Recalled(state, self._remembered(state, layout), self.attn2.keys_values(caption, valid=caption_mask))

    def _remembered(self, state: State, layout: Layout) -> KeysValues | None:
        places = state.tokens.shape[1]
        if not self.over_time or not self.memory.joins or not places:
            return None
        windows = Windows(layout, self.window)
        spread = windows.cut if self.memory.positioned else windows.copy
        tokens = spread(state.tokens.to(self.memory_mark.dtype) + self.memory_mark)
        valid, turn = spread(state.valid[..., None])[..., 0], None
        if self.memory.positioned:
            frames = places // (layout.rows * layout.columns)
            turn = windows.turn(self._rotation(-frames, frames, layout, tokens))
        return self.attn1.keys_values(tokens, turn, valid)

    def _attend(self, normed: Tensor, recalled: Recalled, layout: Layout) -> Tensor:
        """Attention to the tokens beside one (in the window, in all frames) and to what is recalled of the memory."""
        if not self.over_time:
            return self._within_frames(normed, layout)
        windows = Windows(layout, self.window)
        here = windows.turn(self._rotation(-layout.num_context, layout.frames, layout, normed))
        own = windows.cut(normed)
        before = [] if recalled.remembered is None else [recalled.remembered]
        return windows.paste(self.attn1(own, [*before, self.attn1.keys_values(own, here)], here))

    def _rotation(self, start: int, frames: int, layout: Layout, like: Tensor) -> Rotation:
        return rotation(start, frames, layout.rows, layout.columns, self.head_dim, like.device)

    def _within_frames(self, normed: Tensor, layout: Layout) -> Tensor:
        turn = self._rotation(0, 1, layout, normed)
        tokens = rearrange(normed, "b (s n) d -> (b s) n d", s=layout.frames)
        mixed = self.attn1(tokens, [self.attn1.keys_values(tokens, turn)], turn)
        return rearrange(mixed, "(b s) n d -> b (s n) d", s=layout.frames)


class Gelu(nn.Module):
    """GELU by its tanh approximation (arXiv:1606.08415); a processor's vector code has no tanh, but a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        """x (1 + tanh u) / 2, which is x sigmoid(2u), for u = sqrt(2 / pi) (x + 0.044715 x^3)."""
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return F.gelu(x, approximate="tanh")
        return x * torch.sigmoid(x * (2 * SQRT_2_OVER_PI + 2 * SQRT_2_OVER_PI * 0.044715 * x.square()))


def _modulate(x: Float[Tensor, "b n d"], scale: Float[Tensor, "b s d"], base: Tensor) -> Float[Tensor, "b n d"]:
    """base + x (1 + scale) in one pass: one scale for all tokens of a frame, and one base (b, s, d) or each its own (b, n, d)."""
    frames, factor = x.unflatten(1, (scale.shape[1], -1)), (1 + scale)[:, :, None]
    onto = base[:, :, None] if base.shape == scale.shape else base.unflatten(1, (scale.shape[1], -1))
    return torch.addcmul(onto, frames, factor).flatten(1, 2)
