"""SANA-Video (`SanaVideoTransformer3DModel`), whose attention is linear: it has no keys to put a memory beside."""

from typing import Any

from einops import rearrange, repeat
from torch import Tensor

from malt.adapters.behind import ReadBehind
from malt.adapters.family import BaseConditions
from malt.adapters.wan import is_uniform


class SanaVideo(ReadBehind):
    """Linear attention with rotary positions, cross-attention to the caption, and convolutions over time."""

    name = "sana-video"
    levels_per_frame = True
    takes = frozenset[str]()
    lora = {
        "attention": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        "feed_forward": ("ff.conv_inverted", "ff.conv_point"),
    }
    text_tokens = None

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured."""
        frames, rows, columns = base.config.patch_size
        return frames, rows, columns

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """One timestep a video where all frames share it, else one a token."""
        frames, rows, columns = self.patch(base)
        cells = (latents.shape[-2] // rows) * (latents.shape[-1] // columns)
        told = 1000 * levels[:, ::frames]
        velocity: Tensor = base(
            rearrange(latents, "b s c h w -> b c s h w").to(conditions.dtype),
            conditions.text.to(conditions.dtype),
            told[:, 0] if is_uniform(levels) else repeat(told, "b s -> b (s n)", n=cells),
            encoder_attention_mask=conditions.text_mask,
            return_dict=False,
        )[0][:, : latents.shape[2]]  # behind it, some say how sure they are
        return rearrange(velocity, "b c s h w -> b s c h w")
