"""Tiny pipelines of diffusers' own classes that make video from an image, with random weights."""

from typing import Any

import torch
from diffusers import WanImageToVideoPipeline, WanTransformer3DModel
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

import tiny_base_pipelines as tiny
from tiny_bases import TINY_BASES, wan_sizes


def _clip_model() -> CLIPVisionModel:
    torch.manual_seed(3)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=16, **sizes)).eval()


def base(kind: str) -> WanImageToVideoPipeline:
    """Wan 2.1 with an image encoder, a transformer of Wan 2.2 without one, or the 5 B model, which takes no known channels."""
    parts: dict[str, Any] = {"tokenizer": tiny.tokenizer(), "text_encoder": tiny.umt5(), "vae": tiny.wan_vae()}
    parts["scheduler"] = tiny.unipc()
    if kind == "5B":
        return WanImageToVideoPipeline(transformer=TINY_BASES["wan"].base(), expand_timesteps=True, **parts)
    if kind == "2.2":
        torch.manual_seed(0)
        return WanImageToVideoPipeline(transformer=WanTransformer3DModel(**wan_sizes(in_channels=36)).eval(), **parts)
    parts |= {"image_encoder": _clip_model(), "image_processor": CLIPImageProcessor(size=32, crop_size=32)}
    return WanImageToVideoPipeline(transformer=TINY_BASES["wan-i2v"].base(), **parts)
