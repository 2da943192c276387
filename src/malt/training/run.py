"""A whole experiment, from nothing to a pipeline directory: autoencoder, bank of latents, transformer, export."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from malt.data.latents import LatentBank, encode_world
from malt.data.worlds.captions import vocabulary
from malt.data.worlds.passage import Scenes, render, sample_scenes
from malt.errors import CheckpointError
from malt.models.autoencoder import AutoencoderMalt
from malt.models.text import build_text_encoder, build_tokenizer
from malt.models.transformer import MaltTransformer3DModel
from malt.pipelines.malt import MaltPipeline
from malt.recipes import Experiment
from malt.training.autoencoder import AutoencoderTask, latent_statistics
from malt.training.loop import fit
from malt.training.transformer import Captioned, TransformerTask

Tell = Callable[[str], None]
DATA_SEED = 10_000_000  # scenes below this seed are never trained on: they are for looking and for measuring


def train(experiment: Experiment, out: Path, device: str = "cpu", tell: Tell = print) -> Path:
    """Run or resume `experiment` in the folder `out`; returns the directory of the finished `MaltPipeline`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "experiment.json").write_text(json.dumps(asdict(experiment), indent=2))
    autoencoder = train_autoencoder(experiment, out / "autoencoder", device, tell)
    bank = latent_bank(experiment, autoencoder, out / "bank.safetensors", tell)
    captioned = train_transformer(experiment, bank, out / "transformer", device, tell)
    pipeline = MaltPipeline(
        transformer=captioned.transformer,
        vae=autoencoder,
        text_encoder=captioned.text_encoder,
        tokenizer=captioned.tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
    pipeline.to(torch.float16).save_pretrained(out / "pipeline")
    tell(f"the model is in {out / 'pipeline'}")
    return out / "pipeline"


def train_autoencoder(experiment: Experiment, folder: Path, device: str, tell: Tell) -> AutoencoderMalt:
    """The trained autoencoder: from `folder` when it is finished there, or the one of the pipeline to start from."""
    if experiment.start:
        return AutoencoderMalt.from_pretrained(experiment.start, subfolder="vae", dtype=torch.float32).to(device)
    if (folder / "final" / "config.json").exists():
        return AutoencoderMalt.from_pretrained(folder / "final").to(device)
    torch.manual_seed(experiment.seed)
    model = AutoencoderMalt(**experiment.autoencoder).to(device)
    frames = experiment.clip_frames

    def clips(step: int, count: int) -> torch.Tensor:
        return render(sample_scenes(count, DATA_SEED + step * count).to(device), 37 * step % 512, frames)

    tell(f"autoencoder: {experiment.autoencoder_optimization.num_steps} steps")
    task = AutoencoderTask(model, clips, experiment.autoencoder_objective, experiment.seed, _precision(experiment))
    if experiment.compile:
        task.compile()
    fit(task, experiment.autoencoder_optimization, folder).copy_to(model)
    mean, std = latent_statistics(model, render(sample_scenes(64, DATA_SEED).to(device), 0, 64))
    model.register_to_config(latent_mean=tuple(mean), latent_std=tuple(std))
    partial = folder / "final.partial"
    model.save_pretrained(partial)
    partial.rename(folder / "final")
    return model


def latent_bank(experiment: Experiment, autoencoder: AutoencoderMalt, path: Path, tell: Tell) -> LatentBank:
    """The encoded scenes that the transformer learns from, rendered once and kept in `path`."""
    if path.exists():
        tensors = load_file(path)
        return LatentBank(tensors.pop("latents"), Scenes(**tensors), experiment.seed)
    tell(f"encoding {experiment.bank_videos} scenes of {experiment.bank_frames} frames")
    latents, scenes = encode_world(autoencoder, experiment.bank_videos, experiment.bank_frames, DATA_SEED * 2)
    partial = path.with_suffix(".partial")
    save_file({"latents": latents, **{name: t.contiguous() for name, t in vars(scenes).items()}}, partial)
    partial.rename(path)
    return LatentBank(latents, scenes, experiment.seed)


def build_captioned(experiment: Experiment) -> Captioned:
    """Untrained transformer and text encoder."""
    torch.manual_seed(experiment.seed)
    tokenizer = build_tokenizer(vocabulary())
    transformer = MaltTransformer3DModel(**experiment.transformer)
    encoder = build_text_encoder(len(tokenizer), transformer.config.caption_dim)
    return Captioned(transformer, encoder, tokenizer)


def load_start(captioned: Captioned, pipeline: Path, text_encoder: bool = True) -> None:
    """Overwrite the untrained weights with those of a pipeline directory; its text encoder's only where that is asked.

    Raises:
        CheckpointError: when they are of another shape.
    """
    parts = {
        "transformer": pipeline / "transformer" / "diffusion_pytorch_model.safetensors",
    }
    if text_encoder:
        parts["text_encoder"] = pipeline / "text_encoder" / "model.safetensors"
    for name, path in parts.items():
        try:
            getattr(captioned, name).load_state_dict(load_file(path), strict=name == "transformer")
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"cannot start from {pipeline}: its {name} is missing or of another shape") from error


def train_transformer(experiment: Experiment, bank: LatentBank, folder: Path, device: str, tell: Tell) -> Captioned:
    """The averaged weights at the end of the curriculum."""
    captioned = build_captioned(experiment).to(device)
    if experiment.start:
        load_start(captioned, Path(experiment.start), not experiment.fresh_text_encoder)
    if experiment.compile:
        torch._dynamo.config.recompile_limit = 64
        for block in captioned.transformer.blocks:
            block.compile(fullgraph=True)
    tell(f"transformer: {experiment.optimization.num_steps} steps")
    task = TransformerTask(captioned, bank, experiment.curriculum, experiment.seed, _precision(experiment))
    milestones = tuple(stage.until for stage in experiment.curriculum)
    fit(task, experiment.optimization, folder, milestones=milestones).copy_to(captioned)
    return captioned


def _precision(experiment: Experiment) -> torch.dtype:
    return getattr(torch, experiment.precision)
