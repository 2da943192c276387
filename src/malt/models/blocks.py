"""A transformer block: attention with memory, cross-attention to the caption, feed-forward; modulated frame by frame."""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.memory.protocol import (
    Conditions,
    ContextMemory,
    ContextTokens,
    LayerMemory,
    Layout,
    ResidualMemory,
    SegmentRecord,
)
from malt.memory.state import KeysValues, LayerCache, State
from malt.models.attention import MaltAttention, join_keys_values, may_ask
from malt.models.positions import Rotation, rotation, split_axes
from malt.models.windows import Windows

SQRT_2_OVER_PI = 0.7978845608028654


class BlockOutput(NamedTuple):
    """The layer's output, its memory, and the keys and values to go on denoising with; None after the memory was written."""

    hidden: Float[Tensor, "b n d"]
    state: State
    cache: LayerCache | None


class MaltBlock(nn.Module):
    """One layer. `window` (rows, columns) confines space-time attention; `over_time` False confines it to each frame."""

    memory: LayerMemory

    def __init__(
        self,
        width: int,
        num_heads: int,
        caption_width: int,
        mlp_ratio: float,
        memory: LayerMemory,
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
        self.memory = memory
        self.is_read_behind = isinstance(memory, ResidualMemory)  # asked once, as it takes long to find out
        self.memory_mark = nn.Parameter(torch.zeros(width))  # the name under which every checkpoint stores it
        nn.init.zeros_(self.attn2.to_out.weight)
        nn.init.zeros_(self.attn2.to_out.bias)

    @property
    def memory_embedding(self) -> nn.Parameter:
        """What is added to remembered tokens, so that attention can tell them from the segment's own."""
        return self.memory_mark

    def forward(
        self,
        hidden: Float[Tensor, "b n d"],
        modulation: Float[Tensor, "b s 6 d"],
        conditions: Conditions,
        state: State,
        cache: LayerCache | None = None,
        update_memory: bool = True,
    ) -> BlockOutput:
        """The layer's output, and its memory after these tokens, or as it was with the cache if it is not to be updated."""
        cache = self._cache(state, conditions) if cache is None else cache
        assert cache.caption is not None
        shift1, scale1, gate1, shift3, scale3, gate3 = (modulation + self.modulation)[:, :, :, None].unbind(dim=2)
        frames = hidden.unflatten(1, (modulation.shape[1], -1))  # of which each has a modulation of its own
        normed = torch.addcmul(shift1, self.norm1(frames), 1 + scale1).flatten(1, 2)
        attended = self._attend(normed, cache.memory, conditions.layout)
        hidden = torch.addcmul(frames, attended.view_as(frames), 1 + gate1).flatten(1, 2)
        if self.is_read_behind:
            hidden = cast(ResidualMemory, self.memory).read(hidden, state, conditions)
        frames = (hidden + self.attn2(self.norm2(hidden), [cache.caption])).view_as(frames)
        normed = torch.addcmul(shift3, self.norm3(frames), 1 + scale3)
        hidden = torch.addcmul(frames, self.ff(normed), 1 + gate3).flatten(1, 2)
        if not update_memory:
            return BlockOutput(hidden, state, cache)
        return BlockOutput(hidden, self.memory.write(SegmentRecord(hidden, conditions), state), None)

    def _cache(self, state: State, conditions: Conditions) -> LayerCache:
        """What is attended to besides the segment's own tokens: what is remembered, where it stands there, and the caption."""
        caption = self.attn2.keys_values(conditions.caption, valid=conditions.caption_mask)
        return LayerCache(self._remembered(state, conditions), caption)

    def _remembered(self, state: State, conditions: Conditions) -> KeysValues | None:
        if not isinstance(self.memory, ContextMemory) or not state.tokens.shape[1]:
            return None
        found = self.memory.context(state, conditions)
        asks = may_ask() and not self.training  # what a step of training costs is known before it is made
        if asks and bool((~found.valid).all()):
            return None
        grids = found.grids(conditions.layout)
        return join_keys_values([self._seen(grid, conditions.layout, asks and len(grids) == 1) for grid in grids])

    def _seen(self, found: ContextTokens, layout: Layout, asks: bool) -> KeysValues:
        """Keys and values of remembered tokens that lie on one grid, or nowhere; only of those that count where it asks."""
        layout, window = (
            layout.coarse(found.side),
            self.window and (self.window[0] // found.side, self.window[1] // found.side),
        )
        windows = Windows(layout, window)
        spread = windows.copy if found.times is None else windows.cut
        tokens = spread(found.tokens.to(self.memory_embedding.dtype) + self.memory_embedding)
        valid, rope = spread(found.valid[..., None])[..., 0], None
        if found.times is not None:
            rope = windows.rope(self._rotation(found.times, layout, tokens, found.side))
        if not asks or bool(valid.all()):
            return self.attn1.keys_values(tokens, rope, valid)
        kept = valid.any(dim=0)
        index = kept.nonzero()[:, 0]
        rope = None if rope is None else rope[index]
        return self.attn1.keys_values(tokens[:, index], rope, valid[:, index])._replace(kept=kept)

    def _attend(self, normed: Tensor, remembered: KeysValues | None, layout: Layout) -> Tensor:
        """Attention to the tokens beside one (in the window, in all frames) and to what is remembered."""
        if not self.over_time:
            return self._within_frames(normed, layout)
        windows = Windows(layout, self.window)
        rope = windows.rope(self._rotation(layout.times, layout, normed))
        own = windows.cut(normed)
        before = [] if remembered is None else [remembered]
        return windows.paste(self.attn1(own, [*before, self.attn1.keys_values(own, rope)], rope))

    def _rotation(self, times: tuple[int, ...], layout: Layout, like: Tensor, side: int = 1) -> Rotation:
        return rotation(times, layout.rows, layout.columns, self.head_dim, like.device, side)

    def _within_frames(self, normed: Tensor, layout: Layout) -> Tensor:
        rope = self._rotation((0,), layout, normed)
        tokens = rearrange(normed, "b (s n) d -> (b s) n d", s=layout.frames)
        mixed = self.attn1(tokens, [self.attn1.keys_values(tokens, rope)], rope)
        joined: Tensor = rearrange(mixed, "(b s) n d -> b (s n) d", s=layout.frames)
        return joined


class Gelu(nn.Module):
    """GELU by its tanh approximation (arXiv:1606.08415); a processor's vector code has no tanh, but a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        """x (1 + tanh u) / 2, which is x sigmoid(2u), for u = sqrt(2 / pi) (x + 0.044715 x^3)."""
        if x.device.type != "cpu":
            return F.gelu(x, approximate="tanh")
        exact = x.float()
        slope = torch.addcmul(exact.new_tensor(2 * SQRT_2_OVER_PI), exact, exact, value=2 * SQRT_2_OVER_PI * 0.044715)
        return (exact * torch.sigmoid(exact * slope)).to(x.dtype)
