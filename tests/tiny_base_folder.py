"""A tiny pretrained base in a folder, as diffusers saves one: Wan's classes, our autoencoder, a T5 of a few weights."""

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

import tiny_bases
import tiny_pipeline
from malt.models.text import build_text_encoder, build_tokenizer
from malt.worlds.passage.captions import vocabulary

TEXT, TOKENS, CHANNELS = 16, 12, 4


def save_base(folder: Path, text_dim: int = TEXT, boundary: float | None = None) -> Path:
    """A `WanPipeline` directory with random weights; frames of 64x64 make latents of 8x8.

    It has two transformers where there is a noise level between them.
    """
    torch.manual_seed(0)
    tokenizer = build_tokenizer(vocabulary(), max_length=TOKENS)
    sizes = tiny_bases.wan_sizes(in_channels=CHANNELS, out_channels=CHANNELS, text_dim=text_dim)
    WanPipeline(
        tokenizer=tokenizer,
        text_encoder=build_text_encoder(len(tokenizer), width=text_dim, num_layers=1, num_heads=2),
        vae=tiny_pipeline.autoencoder(latent_channels=CHANNELS, frame_size=(64, 64), frame_rate=16.0),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=WanTransformer3DModel(**sizes),
        transformer_2=None if boundary is None else WanTransformer3DModel(**sizes),
        boundary_ratio=boundary,
    ).save_pretrained(folder)
    return folder
