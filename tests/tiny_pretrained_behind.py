"""Tiny pretrained pipelines, as `tiny_pretrained` has them, of the families whose memory is read behind their blocks."""

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    AutoencoderKLMochi,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Pipeline,
    LTX2Pipeline,
    MochiPipeline,
    MotifVideoImage2VideoPipeline,
    MotifVideoPipeline,
    SanaVideoPipeline,
    UniPCMultistepScheduler,
)
from diffusers.models import (
    HunyuanVideo15Transformer3DModel,
    LTX2VideoTransformer3DModel,
    MochiTransformer3DModel,
    MotifVideoTransformer3DModel,
    SanaVideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import (
    ByT5Tokenizer,
    Gemma2Config,
    Gemma2Model,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5EncoderModel,
    T5Gemma2EncoderConfig,
)
from transformers.models.t5gemma2.modeling_t5gemma2 import T5Gemma2Encoder

import tiny
from malt.models.text import build_tokenizer
from malt.worlds.passage.captions import vocabulary
from tiny_pretrained import HEADS, TOKENIZER, saved, t5, wan_autoencoder

WIDTH = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 4}
WORDS = {"vocab_size": len(TOKENIZER), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ROPE = {"rope_axes_dim": (4, 4, 4)}
SIGLIP = SiglipVisionConfig(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
)
SEES = SiglipImageProcessor(size={"height": 32, "width": 32})


def random(module: Any) -> Any:
    """With weights of which none is silent."""
    return tiny.randomised(module.eval())


def _hunyuan15_parts() -> dict[str, Any]:
    tokenizer = build_tokenizer(vocabulary(), max_length=1108)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    sections = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1]}}
    reader = Qwen2_5_VLTextConfig(**WIDTH | WORDS | sections | {"num_hidden_layers": 3, "num_key_value_heads": 2})
    glyphs = T5Config(vocab_size=384, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=8,
        text_embed_2_dim=8,
        image_embed_dim=8,
        target_size=32,
        **ROPE | HEADS,
    )
    return {
        "text_encoder": random(Qwen2_5_VLTextModel(reader)),
        "tokenizer": tokenizer,
        "transformer": random(transformer),
        "vae": random(AutoencoderKLHunyuanVideo15(block_out_channels=(8,) * 5, latent_channels=4, layers_per_block=1)),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0),
        "text_encoder_2": random(T5EncoderModel(glyphs)),
        "tokenizer_2": ByT5Tokenizer(),
        "guider": ClassifierFreeGuidance(guidance_scale=4.0),
    }


def hunyuan15(folder: Path) -> Path:
    """HunyuanVideo 1.5's, with two text encoders and a guider, and latents 4x in time and 16x in space."""
    return saved(HunyuanVideo15Pipeline(**_hunyuan15_parts()), folder)


def hunyuan15_image(folder: Path) -> Path:
    """The same for video from an image, with what reads that."""
    reads = {"image_encoder": random(SiglipVisionModel(SIGLIP)), "feature_extractor": SEES}
    return saved(HunyuanVideo15ImageToVideoPipeline(**_hunyuan15_parts(), **reads), folder)


def ltx2(folder: Path) -> Path:
    """LTX-2's, with what makes its sound, and latents 2x in time and 8x in space."""
    autoencoder = AutoencoderKLLTX2Video(
        block_out_channels=(8, 8),
        decoder_block_out_channels=(8,),
        latent_channels=4,
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1),
        decoder_inject_noise=(False,) * 2,
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        downsample_type=("spatiotemporal", "spatial"),
        upsample_type=("spatiotemporal",),
        upsample_residual=(True,),
        upsample_factor=(2,),
        spatio_temporal_scaling=(True, False),
        decoder_spatio_temporal_scaling=(True,),
        spatial_compression_ratio=8,
        temporal_compression_ratio=2,
    )
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    reader = Gemma3Config(
        text_config=WIDTH | WORDS | {"num_key_value_heads": 2}, vision_config=vision | {"image_size": 28}
    )
    heads = {f"{kind}_connector_num_attention_heads": 2 for kind in ("video", "audio")}
    sizes = {f"{kind}_connector_attention_head_dim": 4 for kind in ("video", "audio")}
    rest = {f"{kind}_connector_num_layers": 1 for kind in ("video", "audio")}
    rest |= {f"{kind}_connector_num_learnable_registers": 4 for kind in ("video", "audio")}
    return saved(
        LTX2Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1),
            vae=random(autoencoder),
            audio_vae=AutoencoderKLLTX2Audio(
                base_channels=8, output_channels=2, ch_mult=(1,), num_res_blocks=1, latent_channels=2, mel_bins=16
            ),
            text_encoder=random(Gemma3ForConditionalGeneration(reader)),
            tokenizer=TOKENIZER,
            connectors=random(LTX2TextConnectors(caption_channels=8, text_proj_in_factor=2, **heads | sizes | rest)),
            transformer=random(
                LTX2VideoTransformer3DModel(
                    in_channels=4,
                    out_channels=4,
                    cross_attention_dim=24,
                    audio_in_channels=8,
                    audio_out_channels=8,
                    audio_num_attention_heads=2,
                    audio_attention_head_dim=8,
                    audio_cross_attention_dim=16,
                    caption_channels=8,
                    **HEADS,
                )
            ),
            vocoder=LTX2Vocoder(
                in_channels=4,
                hidden_channels=4,
                out_channels=2,
                upsample_kernel_sizes=[4, 4],
                upsample_factors=[2, 2],
                resnet_kernel_sizes=[3],
                resnet_dilations=[[1, 3]],
            ),
        ),
        folder,
    )


def mochi(folder: Path) -> Path:
    """Mochi's, whose scheduler counts from noise to video, with latents 3x in time and 8x in space."""
    autoencoder = AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32),
        decoder_block_out_channels=(32, 32),
        latent_channels=4,
        layers_per_block=(1, 1, 1),
        temporal_expansions=(3,),
        spatial_expansions=(8,),
        add_attention_block=(False, True, True),
        latents_mean=(0.1, -0.2, 0.0, 0.3),
        latents_std=(0.5, 1.0, 2.0, 1.5),
    )
    return saved(
        MochiPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
            vae=random(autoencoder),
            text_encoder=t5(),
            tokenizer=TOKENIZER,
            transformer=random(
                MochiTransformer3DModel(
                    pooled_projection_dim=8, in_channels=4, text_embed_dim=8, time_embed_dim=8, **HEADS
                )
            ),
        ),
        folder,
    )


def _motif_parts(**sees: Any) -> dict[str, Any]:
    transformer = MotifVideoTransformer3DModel(
        in_channels=9,
        out_channels=4,
        num_single_layers=2,
        num_decoder_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=8,
        **ROPE | HEADS | sees,
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": wan_autoencoder(),
        "tokenizer": TOKENIZER,
        "transformer": random(transformer),
        "guider": ClassifierFreeGuidance(guidance_scale=4.0),
    }


def motif(folder: Path) -> Path:
    """Motif-Video's, with a guider and Wan's autoencoder."""
    return saved(MotifVideoPipeline(text_encoder=t5(), **_motif_parts()), folder)


def motif_image(folder: Path) -> Path:
    """The same for video from an image, with the text encoder that sees it."""
    words = WIDTH | WORDS | {"num_key_value_heads": 2, "dropout_rate": 0.0}
    reads = T5Gemma2EncoderConfig(text_config=words, vision_config=SIGLIP, mm_tokens_per_image=4)
    encoder = random(T5Gemma2Encoder(reads))
    return saved(
        MotifVideoImage2VideoPipeline(text_encoder=encoder, feature_extractor=SEES, **_motif_parts(image_embed_dim=8)),
        folder,
    )


def sana(folder: Path) -> Path:
    """SANA-Video's, with Wan's autoencoder."""
    reader = Gemma2Config(**WIDTH | WORDS | {"num_key_value_heads": 2})
    return saved(
        SanaVideoPipeline(
            tokenizer=TOKENIZER,
            text_encoder=random(Gemma2Model(reader)),
            vae=wan_autoencoder(),
            transformer=random(
                SanaVideoTransformer3DModel(
                    in_channels=4,
                    out_channels=4,
                    num_cross_attention_heads=2,
                    cross_attention_head_dim=12,
                    cross_attention_dim=24,
                    caption_channels=8,
                    rope_max_seq_len=64,
                    **HEADS,
                )
            ),
            scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0),
        ),
        folder,
    )
