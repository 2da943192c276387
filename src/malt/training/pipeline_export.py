"""From trained models to a pipeline directory, and what they are before they are trained."""

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

from malt.codecs.base import Codec
from malt.models.text import build_text_encoder, build_tokenizer
from malt.models.transformer import MaltTransformer3DModel
from malt.pipelines.malt import MaltPipeline
from malt.training.config import Sampling, TransformerSize
from malt.training.objectives.denoising import CaptionedModel, CaptionedTransformer


def build_captioned(
    size: TransformerSize,
    words: tuple[str, ...],
    codec: Codec,
    *,
    caption_tokens: int = 20,
    num_actions: int = 0,
    seed: int = 0,
) -> CaptionedTransformer:
    """Untrained transformer and text encoder of this size for the latents of this codec.

    Args:
        size: that of the transformer.
        words: the vocabulary of the captions.
        codec: whose latents are denoised.
        caption_tokens: how many tokens of a caption count, its end included.
        num_actions: numbers that say what is done in a video frame.
        seed: what the weights begin with.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(words, caption_tokens)
    transformer = MaltTransformer3DModel(
        **vars(size), in_channels=codec.latent_channels, action_dim=codec.time_compression * num_actions or None
    )
    encoder = build_text_encoder(len(tokenizer), transformer.config.caption_dim)
    return CaptionedTransformer(transformer, encoder, tokenizer)


def write_pipeline(
    captioned: CaptionedModel,
    autoencoder: nn.Module,
    out: Path,
    sampling: Sampling,
    action_names: tuple[str, ...] = (),
) -> None:
    """Write a `MaltPipeline` directory, in half precision; it appears under its name only when it is whole."""
    assert isinstance(captioned, CaptionedTransformer)
    transformer = captioned.transformer
    assert isinstance(transformer, MaltTransformer3DModel)
    pipeline = MaltPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=sampling.shift),
        transformer=transformer,
        vae=autoencoder,
        text_encoder=captioned.text_encoder,
        tokenizer=captioned.tokenizer,
        **{name: value for name, value in vars(sampling).items() if name not in ("shift", "remembers_in_last_step")},
        action_names=list(action_names) or None,
    )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(partial)
    _forget_origin(partial / "vae" / "config.json")
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def _forget_origin(config: Path) -> None:
    """Take out the folder that an autoencoder was loaded from, which diffusers notes and strangers have no use for."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
