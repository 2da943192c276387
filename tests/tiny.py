"""Tiny transformers whose weights are random everywhere, so that no branch is silent, and what they are fed."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from malt.memory.state import Memory
from malt.models.transformer import MaltTransformer3DModel

Module = TypeVar("Module", bound=nn.Module)

BATCH, FRAMES, CHANNELS, SIDE, CAPTION = 2, 2, 3, 8, 12


def transformer(**settings: Any) -> MaltTransformer3DModel:
    """A transformer of two layers over segments of `FRAMES` latent frames."""
    sizes: dict[str, Any] = {
        "in_channels": CHANNELS,
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "mlp_ratio": 2.0,
        "caption_dim": CAPTION,
        "modulation_dim": 8,
        "segment_frames": FRAMES,
    }
    return randomised(MaltTransformer3DModel(**sizes | settings).eval())


def randomised(module: Module, seed: int = 0) -> Module:
    """The module with weights drawn anew."""
    chance = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        scale = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.data = scale * torch.randn(parameter.shape, generator=chance)
    return module


def segment(seed: int = 1, frames: int = FRAMES, level: float | None = None, side: int = SIDE) -> dict[str, Tensor]:
    """What a forward is given for a segment; `level` None draws the noise levels."""
    chance = torch.Generator().manual_seed(seed)
    levels = torch.rand(BATCH, frames, generator=chance)
    return {
        "latents": torch.randn(BATCH, frames, CHANNELS, side, side, generator=chance),
        "timestep": levels if level is None else torch.full_like(levels, level),
        "encoder_hidden_states": torch.randn(BATCH, 5, CAPTION, generator=chance),
        "encoder_attention_mask": torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
    }


def remember(
    model: MaltTransformer3DModel, num_segments: int, first_seed: int = 10, memory: Memory | None = None
) -> Memory:
    """The memory after so many clean segments."""
    for n in range(num_segments):
        memory = model(memory=memory, **segment(first_seed + n, level=0.0)).memory
    assert memory is not None
    return memory
