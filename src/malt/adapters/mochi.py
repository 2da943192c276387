"""Mochi (`MochiTransformer3DModel`), whose positions turn by learned frequencies and whose time runs from noise to video."""

from typing import Any

from einops import rearrange
from torch import Tensor

from malt.adapters.behind import ReadBehind
from malt.adapters.family import BaseConditions


class Mochi(ReadBehind):
    """Text and video share one attention, in which every head has frequencies of its own."""

    name = "mochi"
    levels_per_frame = False
    takes = frozenset[str]()
    lora = {
        "attention": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2"),
    }
    text_tokens = 256

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured."""
        return 1, base.config.patch_size, base.config.patch_size

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """Told how much is video already; what it says leads there."""
        velocity: Tensor = base(
            rearrange(latents, "b s c h w -> b c s h w").to(conditions.dtype),
            conditions.text.to(conditions.dtype),
            1000 * (1 - levels[:, 0]),
            conditions.text_mask,
            return_dict=False,
        )[0]
        return -rearrange(velocity, "b c s h w -> b s c h w")
