"""Tiny pipelines of diffusers' own classes with random weights, as their users have them: built, saved, and loaded again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from malt.adapters import save_adapter
from malt.models.text import build_tokenizer
from tiny_bases import TINY_BASES

WORDS = ("red", "blue", "circle", "square")
PROMPT, TEXT_WIDTH = "red circle", 16
SIDE = 32  # height and width of frames, pixels
FRAMES = 17  # of a clip: 5 latent frames
STEPS = 2
USE = {
    "frame_size": (SIDE, SIDE),
    "num_inference_steps": STEPS,
    "guidance_scale": 1.0,
}  # settings of an adapter for so small a base


def tokenizer(length: int = 12) -> PreTrainedTokenizerFast:
    """Of a few words."""
    return build_tokenizer(WORDS, length)


def umt5(width: int = TEXT_WIDTH) -> UMT5EncoderModel:
    """A text encoder as Wan has one."""
    torch.manual_seed(1)
    sizes = {"d_model": width, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer()), pad_token_id=0, eos_token_id=2, **sizes)).eval()


def wan_vae() -> AutoencoderKLWan:
    """8 pixels and 4 frames in a latent, as Wan 2.1's."""
    torch.manual_seed(2)
    return AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def unipc() -> UniPCMultistepScheduler:
    """Wan's own scheduler."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def wan(transformer: Any = None, **more: Any) -> WanPipeline:
    """Wan 2.1, text to video."""
    parts = {"tokenizer": tokenizer(), "text_encoder": umt5(), "vae": wan_vae(), "scheduler": unipc()}
    return WanPipeline(transformer=transformer or TINY_BASES["wan"].base(), **parts, **more)


def wider_wan() -> WanPipeline:
    """The same with more heads."""
    config = dict(TINY_BASES["wan"].base().config) | {"num_attention_heads": 3}
    return wan(WanTransformer3DModel.from_config(config))


PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {"wan": wan, "wider wan": wider_wan}


def saved(folder: Path, name: str = "wan") -> Path:
    """A base in a folder, as it comes from the hub."""
    PIPELINES[name]().save_pretrained(folder)
    return folder


def saved_memory(folder: Path, name: str = "wan", **settings: Any) -> Path:
    """A memory for a base, with weights as if it had learned something, in a folder."""
    model = TINY_BASES[name].adapted(memory="slots", memory_size=4, segment_frames=2, **settings)
    torch.manual_seed(4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(model, folder, "the/base", USE)
    return folder


def euler(shift: float = 3.0) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler that most others have."""
    return FlowMatchEulerDiscreteScheduler(shift=shift)


def two_expert_wan(boundary: float = 0.9) -> WanPipeline:
    """Wan 2.2 of 14 B: a transformer for much noise, another for little."""
    second = TINY_BASES["wan"].base()
    torch.manual_seed(5)
    for parameter in second.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return wan(transformer_2=second, boundary_ratio=boundary)
