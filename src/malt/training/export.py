"""From a run's folder to a pipeline directory: the finished run's, or the newest state of one that goes on."""

import os
import shutil
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

from malt.codecs.base import Codec
from malt.codecs.choose import codec_of
from malt.errors import CheckpointError
from malt.models.text import build_text_encoder, build_tokenizer
from malt.models.transformer import MaltTransformer3DModel
from malt.pipelines.autoencoder import load_autoencoder
from malt.pipelines.malt import MaltPipeline
from malt.training.checkpoint import damage, load_average, saved_states
from malt.training.experiment import Experiment
from malt.training.folder import read_experiment, read_words
from malt.training.transformer import Captioned


def build_captioned(experiment: Experiment, words: tuple[str, ...], codec: Codec) -> Captioned:
    """Untrained transformer and text encoder, of the experiment's size, for the latents of this codec."""
    torch.manual_seed(experiment.seed)
    tokenizer = build_tokenizer(words, experiment.caption_tokens)
    transformer = MaltTransformer3DModel(
        **vars(experiment.transformer),
        in_channels=codec.latent_channels,
        action_dim=codec.time_compression * len(experiment.actions) or None,
    )
    encoder = build_text_encoder(len(tokenizer), transformer.config.caption_dim)
    return Captioned(transformer, encoder, tokenizer)


def write_pipeline(experiment: Experiment, captioned: Captioned, autoencoder: nn.Module, out: Path) -> None:
    """Write a `MaltPipeline` directory, in half precision; it appears under its name only when it is whole."""
    settings = dict(vars(experiment.sampling))
    pipeline = MaltPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=settings.pop("shift")),
        transformer=captioned.transformer,
        vae=autoencoder,
        text_encoder=captioned.text_encoder,
        tokenizer=captioned.tokenizer,
        **settings,
        action_names=list(experiment.actions) or None,
    )
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def export(run: Path, out: Path) -> int:
    """Write the newest whole state of a run as a pipeline directory, averaged weights; returns its step.

    Raises:
        CheckpointError: when the run has no state of the transformer that is whole.
        UsageError: when there is no run.
    """
    experiment, words = read_experiment(run).experiment, read_words(run)
    states = [state for state in saved_states(run / "transformer") if damage(state) is None]
    if not states or words is None:
        raise CheckpointError(f"the run in {run} has no whole state of its transformer yet; let it train on")
    autoencoder = load_autoencoder(run / "autoencoder" / "final")
    captioned = build_captioned(experiment, words, codec_of(autoencoder))
    try:
        captioned.load_state_dict(load_average(states[-1]), strict=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{states[-1]} is not of the model that {run} was begun with; copy the run again"
        ) from error
    write_pipeline(experiment, captioned, autoencoder, out)
    return int(states[-1].name.rsplit("-", 1)[-1])
