"""Motif-Video (`MotifVideoTransformer3DModel`): blocks of two streams, then of one, the last of them a decoder."""

from typing import Any

from einops import rearrange
from torch import Tensor

from malt.adapters.behind import ReadBehind
from malt.adapters.conditions import with_known
from malt.adapters.family import BaseConditions


class MotifVideo(ReadBehind):
    """Text and video share one attention. Without an image its channels are zeros, as in text to video."""

    name = "motif-video"
    lists = ("transformer_blocks", "single_transformer_blocks")
    levels_per_frame = False
    takes = frozenset({"image_embeds", "known_latents"})
    lora = {
        "attention": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2", "proj_mlp", "proj_out"),
    }
    text_tokens = None

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured."""
        return base.config.patch_size_t, base.config.patch_size, base.config.patch_size

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """With what is known of the video in channels behind it."""
        image = conditions.added.get("image_embeds")
        video = with_known(latents, conditions, base.config.in_channels)
        velocity: Tensor = base(
            rearrange(video, "b s c h w -> b c s h w").to(conditions.dtype),
            1000 * levels[:, 0],
            conditions.text.to(conditions.dtype),
            conditions.text_mask,
            image_embeds=None if image is None else image.to(conditions.dtype),
            return_dict=False,
        )[0]
        return rearrange(velocity, "b c s h w -> b s c h w")
