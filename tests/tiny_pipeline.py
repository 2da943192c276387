"""A tiny pipeline whose weights are random everywhere: 32x32 pixels, segments of 2 latent frames or 8 frames."""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

import tiny
from malt.models.autoencoder import AutoencoderMalt
from malt.models.text import build_text_encoder, build_tokenizer
from malt.models.transformer import MaltTransformer3DModel
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.malt import MaltRollout
from malt.worlds.passage.captions import vocabulary

SIDE = 32  # height and width of the frames, pixels
LATENT_SIDE = SIDE // 8
SEGMENT = tiny.FRAMES * 4  # frames in a segment
STEPS = 2
PROMPT = "a red circle passes behind a wall"


def autoencoder(**settings: Any) -> AutoencoderMalt:
    """An autoencoder of a few weights."""
    sizes = {"latent_channels": tiny.CHANNELS, "channels": (4, 8, 8), "frame_size": (SIDE, SIDE), "frame_rate": 8.0}
    return tiny.randomised(AutoencoderMalt(**sizes | settings).eval())


def pipeline(vae: torch.nn.Module | None = None, settings: dict[str, Any] | None = None, **model: Any) -> MaltPipeline:
    """A pipeline of tiny models; `settings` are the pipeline's own, `model` those of the transformer."""
    tokenizer = build_tokenizer(vocabulary(), max_length=12)
    encoder = build_text_encoder(len(tokenizer), width=tiny.CAPTION, num_layers=1, num_heads=2)
    return MaltPipeline(
        transformer=tiny.transformer(**model),
        vae=autoencoder() if vae is None else vae,
        text_encoder=tiny.randomised(encoder.eval()),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        **{"num_inference_steps": STEPS} | (settings or {}),
    )


def rollout(prompts: int = 1, settings: dict[str, Any] | None = None, **model: Any) -> MaltRollout:
    """A rollout of `prompts` videos by a tiny pipeline."""
    return pipeline(**model).rollout([PROMPT] * prompts, **settings or {})


def network(owner: object) -> MaltTransformer3DModel:
    """The transformer of a pipeline or a captioned model, or that of a rollout, or of the rollout it is based on."""
    found = getattr(getattr(owner, "base", owner), "transformer", None)
    assert isinstance(found, MaltTransformer3DModel)
    return found


def video(num_frames: int, seed: int = 0, batch: tuple[int, ...] = ()) -> Tensor:
    """Frames of noise (*batch, t, 3, H, W) in [-1, 1]."""
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(*batch, num_frames, 3, SIDE, SIDE, generator=chance) * 2 - 1
