"""Tiny pretrained pipelines of diffusers in folders, with random weights: text encoders, autoencoder, transformer, scheduler."""

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    LTXPipeline,
    SkyReelsV2DiffusionForcingPipeline,
    UniPCMultistepScheduler,
    WanPipeline,
)
from diffusers.models import (
    CogVideoXTransformer3DModel,
    HunyuanVideoTransformer3DModel,
    LTXVideoTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    WanTransformer3DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

import tiny
from malt.models.text import build_tokenizer
from malt.worlds.passage.captions import vocabulary

TOKENIZER = build_tokenizer(vocabulary(), max_length=512)
T5: dict[str, Any] = {"vocab_size": len(TOKENIZER), "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
HEADS: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 1}


def t5(kind: type[T5EncoderModel | UMT5EncoderModel] = T5EncoderModel) -> Any:
    config = (UMT5Config if kind is UMT5EncoderModel else T5Config)(**T5)
    return tiny.randomised(kind(config).eval())


def wan_autoencoder() -> AutoencoderKLWan:
    """Latents 4x in time and in space."""
    autoencoder = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=0,
        temperal_downsample=[True, True],
        latents_mean=[0.1, -0.2, 0.0, 0.3],
        latents_std=[0.5, 1.0, 2.0, 1.5],
        scale_factor_spatial=4,
    )
    return tiny.randomised(autoencoder.eval())


def wan(folder: Path, **settings: Any) -> Path:
    """Wan 2.1's pipeline."""
    return saved(
        WanPipeline(
            tokenizer=TOKENIZER,
            text_encoder=t5(UMT5EncoderModel),
            vae=wan_autoencoder(),
            transformer=WanTransformer3DModel(
                in_channels=4, out_channels=4, text_dim=8, freq_dim=16, ffn_dim=16, **HEADS | settings
            ),
            scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        ),
        folder,
    )


def skyreels(folder: Path) -> Path:
    """SkyReels-V2's pipeline of diffusion forcing, whose transformer is told the frame rate."""
    return saved(
        SkyReelsV2DiffusionForcingPipeline(
            tokenizer=TOKENIZER,
            text_encoder=t5(UMT5EncoderModel),
            vae=wan_autoencoder(),
            transformer=SkyReelsV2Transformer3DModel(
                in_channels=4, out_channels=4, text_dim=8, freq_dim=16, ffn_dim=16, inject_sample_info=True, **HEADS
            ),
            scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0),
        ),
        folder,
    )


def ltx(folder: Path) -> Path:
    """LTX-Video's pipeline, with latents 2x in time and 8x in space."""
    autoencoder = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, False),
        decoder_spatio_temporal_scaling=(True, False),
        decoder_inject_noise=(False,) * 3,
        down_block_types=("LTXVideoDownBlock3D",) * 2,
        downsample_type=("conv",) * 2,
        upsample_residual=(False,) * 2,
        upsample_factor=(1, 1),
    )
    return saved(
        LTXPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=tiny.randomised(autoencoder.eval()),
            text_encoder=t5(),
            tokenizer=TOKENIZER,
            transformer=LTXVideoTransformer3DModel(
                in_channels=4, out_channels=4, cross_attention_dim=24, caption_channels=8, **HEADS
            ),
        ),
        folder,
    )


def cogvideox(folder: Path) -> Path:
    """CogVideoX's pipeline, with latents 2x in time and in space."""
    autoencoder = AutoencoderKLCogVideoX(
        block_out_channels=(4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("CogVideoXDownBlock3D",) * 2,
        up_block_types=("CogVideoXUpBlock3D",) * 2,
        temporal_compression_ratio=2,
    )
    return saved(
        CogVideoXPipeline(
            tokenizer=TOKENIZER,
            text_encoder=t5(),
            vae=tiny.randomised(autoencoder.eval()),
            transformer=CogVideoXTransformer3DModel(
                in_channels=4, out_channels=4, text_embed_dim=8, time_embed_dim=8, **HEADS | {"attention_head_dim": 16}
            ),
            scheduler=CogVideoXDDIMScheduler(
                prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
            ),
        ),
        folder,
    )


def hunyuan(folder: Path) -> Path:
    """HunyuanVideo's pipeline, with two text encoders, and latents 4x in time and 8x in space."""
    autoencoder = AutoencoderKLHunyuanVideo(
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2
    )
    width = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": len(TOKENIZER)}
    clip = CLIPTextConfig(num_hidden_layers=1, eos_token_id=2, bos_token_id=1, pad_token_id=0, **width)
    return saved(
        HunyuanVideoPipeline(
            text_encoder=tiny.randomised(LlamaModel(LlamaConfig(num_hidden_layers=3, **width)).eval()),
            tokenizer=TOKENIZER,
            transformer=HunyuanVideoTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_single_layers=1,
                num_refiner_layers=1,
                text_embed_dim=8,
                pooled_projection_dim=8,
                rope_axes_dim=(4, 4, 4),
                **HEADS,
            ),
            vae=tiny.randomised(autoencoder.eval()),
            scheduler=FlowMatchEulerDiscreteScheduler(),
            text_encoder_2=tiny.randomised(CLIPTextModel(clip).eval()),
            tokenizer_2=TOKENIZER,
        ),
        folder,
    )


def saved(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder
