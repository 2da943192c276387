"""Tiny transformers of the families whose memory is read behind their blocks, and how their own pipelines call them."""

from typing import Any

import torch
from diffusers import (
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoTransformer3DModel,
    LTX2VideoTransformer3DModel,
    MochiTransformer3DModel,
    MotifVideoTransformer3DModel,
    SanaVideoTransformer3DModel,
)
from einops import rearrange, repeat
from torch import Tensor


def uniform(levels: Tensor) -> bool:
    """Whether all frames of a video have one noise level."""
    return bool((levels == levels[:, :1]).all())


def call_hunyuan(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    video, text, pooled, guidance = (
        x.to(base.dtype)
        for x in (
            rearrange(latents, "b s c h w -> b c s h w"),
            told["encoder_hidden_states"],
            told["pooled_projections"],
            told["guidance"],
        )
    )
    mask = told["encoder_attention_mask"].to(base.dtype)
    made = base(video, 1000 * levels[:, 0], text, mask, pooled, guidance, return_dict=False)[0]
    return rearrange(made, "b c s h w -> b s c h w")


def hunyuan() -> HunyuanVideoTransformer3DModel:
    return HunyuanVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 4, 4),
    )


def call_hunyuan15(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    known = told.get("known_latents", torch.zeros(*latents.shape[:2], 9, *latents.shape[3:]))
    image = told.get("image_embeds", torch.zeros(len(latents), 1, 8))
    video = rearrange(torch.cat([latents, known], dim=2), "b s c h w -> b c s h w").to(base.dtype)
    text = told["encoder_hidden_states"].to(base.dtype)
    made = base(
        video,
        (1000 * levels[:, 0]).to(base.dtype),
        text,
        told["encoder_attention_mask"],
        None,
        told["encoder_hidden_states_2"].to(base.dtype),
        told["encoder_attention_mask_2"],
        image.to(base.dtype),
        return_dict=False,
    )[0]
    return rearrange(made, "b c s h w -> b s c h w")


def hunyuan15() -> HunyuanVideo15Transformer3DModel:
    return HunyuanVideo15Transformer3DModel(
        in_channels=17,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=3,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        text_embed_2_dim=8,
        image_embed_dim=8,
        rope_axes_dim=(4, 4, 4),
    )


def call_sana(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    cells = latents.shape[-1] * latents.shape[-2] // 4
    timestep = 1000 * levels[:, 0] if uniform(levels) else repeat(1000 * levels, "b s -> b (s n)", n=cells)
    video = rearrange(latents, "b s c h w -> b c s h w").to(base.dtype)
    text, mask = told["encoder_hidden_states"].to(base.dtype), told["encoder_attention_mask"].long()
    made = base(video, text, timestep, encoder_attention_mask=mask, return_dict=False)[0]
    return rearrange(made, "b c s h w -> b s c h w")


def sana() -> SanaVideoTransformer3DModel:
    return SanaVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=3,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=16,
        rope_max_seq_len=64,
    )


def call_ltx2(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    tokens, side = rearrange(latents, "b s c h w -> b (s h w) c").to(base.dtype), latents.shape[-1]
    timestep = 1000 * levels[:, 0] if uniform(levels) else repeat(1000 * levels, "b s -> b (s n)", n=side * side)
    noise, text = 1000 * levels.max(dim=1).values, told["encoder_hidden_states"].to(base.dtype)
    sound, sound_text = (
        torch.randn(len(latents), 3, 8).to(base.dtype),
        torch.randn_like(text),
    )  # it hears nothing of them
    made = base(
        tokens,
        sound,
        text,
        sound_text,
        timestep,
        audio_timestep=noise,
        sigma=noise,
        encoder_attention_mask=told["encoder_attention_mask"].long(),
        num_frames=latents.shape[1],
        height=side,
        width=side,
        audio_num_frames=3,
        isolate_modalities=True,
        return_dict=False,
    )[0]
    return rearrange(made, "b (s h w) c -> b s c h w", h=side, w=side)


def ltx2() -> LTX2VideoTransformer3DModel:
    return LTX2VideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        audio_in_channels=8,
        audio_out_channels=8,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
        cross_attn_mod=True,
        audio_cross_attn_mod=True,
        num_layers=2,
        caption_channels=16,
        rope_type="split",
    )


def call_mochi(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    video, text = (
        x.to(base.dtype) for x in (rearrange(latents, "b s c h w -> b c s h w"), told["encoder_hidden_states"])
    )
    made = base(video, text, 1000 * (1 - levels[:, 0]), told["encoder_attention_mask"], return_dict=False)[0]
    return rearrange(-made, "b c s h w -> b s c h w")


def mochi() -> MochiTransformer3DModel:
    return MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=3,
        pooled_projection_dim=8,
        in_channels=8,
        text_embed_dim=16,
        time_embed_dim=8,
        max_sequence_length=5,
    )


def call_motif(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    video = torch.cat([latents, torch.zeros(*latents.shape[:2], 9, *latents.shape[3:])], dim=2)
    video, text = (
        x.to(base.dtype) for x in (rearrange(video, "b s c h w -> b c s h w"), told["encoder_hidden_states"])
    )
    made = base(video, 1000 * levels[:, 0], text, told["encoder_attention_mask"], return_dict=False)[0]
    return rearrange(made, "b c s h w -> b s c h w")


def motif() -> MotifVideoTransformer3DModel:
    return MotifVideoTransformer3DModel(
        in_channels=17,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=2,
        num_decoder_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=16,
        rope_axes_dim=(4, 4, 4),
    )
