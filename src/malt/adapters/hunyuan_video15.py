"""HunyuanVideo 1.5 (`HunyuanVideo15Transformer3DModel`): two text encoders, and channels and tokens of an image."""

from typing import Any

from einops import rearrange
from torch import Tensor

from malt.adapters.behind import ReadBehind
from malt.adapters.conditions import needed, with_known
from malt.adapters.family import BaseConditions


class HunyuanVideo15(ReadBehind):
    """Text and video share one attention. Without an image its channels and its one token are zeros, as in text to video."""

    name = "hunyuan-video-1.5"
    levels_per_frame = False
    takes = frozenset({"encoder_hidden_states_2", "encoder_attention_mask_2", "image_embeds", "known_latents"})
    lora = {
        "attention": ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2"),
    }
    text_tokens = None

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured."""
        return base.config.patch_size_t, base.config.patch_size, base.config.patch_size

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """With what the second encoder says of words to be drawn."""
        video = with_known(latents, conditions, base.config.in_channels)
        image = conditions.added.get("image_embeds", latents.new_zeros(len(latents), 1, base.config.image_embed_dim))
        velocity: Tensor = base(
            rearrange(video, "b s c h w -> b c s h w").to(conditions.dtype),
            (1000 * levels[:, 0]).to(conditions.dtype),
            conditions.text.to(conditions.dtype),
            conditions.text_mask,
            encoder_hidden_states_2=needed(self.name, conditions, "encoder_hidden_states_2").to(conditions.dtype),
            encoder_attention_mask_2=needed(self.name, conditions, "encoder_attention_mask_2"),
            image_embeds=image.to(conditions.dtype),
            return_dict=False,
        )[0]
        return rearrange(velocity, "b c s h w -> b s c h w")
