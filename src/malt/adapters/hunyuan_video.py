"""HunyuanVideo (`HunyuanVideoTransformer3DModel`): blocks of two streams, then of one, and guidance that the model is told."""

from typing import Any

from einops import rearrange
from torch import Tensor

from malt.adapters.behind import ReadBehind
from malt.adapters.conditions import needed, with_known
from malt.adapters.family import BaseConditions


class HunyuanVideo(ReadBehind):
    """Text and video share one attention; what modulates its tokens has the caption in it, so a memory is read behind."""

    name = "hunyuan-video"
    lists = ("transformer_blocks", "single_transformer_blocks")
    levels_per_frame = False
    takes = frozenset({"pooled_projections", "guidance", "known_latents"})
    lora = {
        "attention": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2", "proj_mlp", "proj_out"),
    }
    text_tokens = None

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured."""
        return base.config.patch_size_t, base.config.patch_size, base.config.patch_size

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """With CLIP's pooled state and, where the model was distilled so, the guidance it is told, a thousandfold."""
        guidance = needed(self.name, conditions, "guidance") if base.config.guidance_embeds else None
        video = with_known(latents, conditions, base.config.in_channels)
        velocity: Tensor = base(
            rearrange(video, "b s c h w -> b c s h w").to(conditions.dtype),
            1000 * levels[:, 0],
            conditions.text.to(conditions.dtype),
            conditions.text_mask,
            needed(self.name, conditions, "pooled_projections").to(conditions.dtype),
            guidance=None if guidance is None else guidance.to(conditions.dtype),
            return_dict=False,
        )[0]
        return rearrange(velocity, "b c s h w -> b s c h w")
