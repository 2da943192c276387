"""The first stage of a run: an autoencoder, the one that is given or a new one."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from malt.codecs.registry import codec_of
from malt.errors import CheckpointError
from malt.models.autoencoder import AutoencoderMalt
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.training.config import AutoencoderSize, CheckpointConfig
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import DistributedContext, by_the_first
from malt.training.monitors.reconstruction import reconstruction
from malt.training.objectives.autoencoding import ReconstructionConfig, ReconstructionObjective, latent_statistics
from malt.training.objectives.rng import check_shared
from malt.training.sources.data_source import ClipData, DataSource, Log
from malt.wording import counted


@dataclass(frozen=True, kw_only=True)
class AutoencoderStage:
    """What a new autoencoder is trained with. What it comes to lies in `folder`."""

    size: AutoencoderSize
    objective: ReconstructionConfig
    optimization: Optimization
    checkpoint: CheckpointConfig
    seed: int
    precision: torch.dtype
    is_compiled: bool
    device: str
    folder: Path
    start: Path | None = None  # an autoencoder, or a model that has one, whose weights it begins with

    def check(self, context: DistributedContext) -> None:
        """Refuse a batch that the processes cannot share equally, before hours are spent on what comes first.

        Raises:
            UsageError: they cannot.
        """
        check_shared(context.rank_and_size, self.objective.batch_size)

    def train(self, source: DataSource, context: DistributedContext, log: Log) -> AutoencoderMalt:
        """A new autoencoder with the statistics of its latents; how well it reconstructs goes to `reconstruction.json`."""
        clips = by_the_first(context, lambda: source.clips(self.device))
        torch.manual_seed(self.seed)
        model: AutoencoderMalt = AutoencoderMalt(**vars(self.size)).to(self.device)
        if self.start:
            _load_weights(model, self.start)
        log(f"autoencoder: {counted(self.optimization.num_steps, 'step')}")
        task = ReconstructionObjective(
            model, clips.clips, self.objective, self.seed, self.precision, context.rank_and_size
        )
        if self.is_compiled:
            task.compile()
        average = fit(
            task,
            self.optimization,
            self.folder,
            save_seconds=self.checkpoint.save_seconds,
            keep=self.checkpoint.keep_states,
        )
        average.copy_to(model)
        mean, std = latent_statistics(model, clips.typical())
        model.register_to_config(latent_mean=tuple(mean), latent_std=tuple(std))
        source.describe(model)
        if context.is_first:
            self._measure(model, clips, log)
        return model

    def _measure(self, model: AutoencoderMalt, clips: ClipData, log: Log) -> None:
        held_out = clips.held_out()
        if held_out is not None:
            figures = reconstruction(codec_of(model), held_out.split(4))
            (self.folder / "reconstruction.json").write_text(json.dumps(figures))
            log(f"autoencoder: {figures['psnr']:.1f} dB PSNR and {figures['ssim']:.3f} SSIM on held-out clips")


def _load_weights(model: AutoencoderMalt, start: Path) -> None:
    """Begin with the weights of another autoencoder of this size.

    Raises:
        CheckpointError: it is of another size, or of another kind.
    """
    try:
        model.load_state_dict(load_autoencoder(start).state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"cannot start from the autoencoder of {start}: it is of another shape") from error


def ready_autoencoder(folder: Path, given: Path | None, source: DataSource, device: str) -> nn.Module | None:
    """The autoencoder that need not be trained; None where there is none.

    Args:
        folder: that of the run's own, which is ready where it is finished.
        given: another one to use; None for none.
        source: what is learned from; where it has no clips, the default model's autoencoder is used.
        device: where to compute.

    Raises:
        CheckpointError: the one that was given cannot be loaded.
        UsageError: it is not the one that made the shards.
    """
    if (folder / "final" / "config.json").exists():
        return load_autoencoder(folder / "final").to(device)
    if given is None and source.has_clips:
        return None
    autoencoder = load_autoencoder(given).to(device)
    source.describe(autoencoder)
    return autoencoder


def keep_autoencoder(autoencoder: nn.Module, folder: Path) -> None:
    """Keep the autoencoder with the run; what was decoded for its training is no longer needed."""
    if not (folder / "final").exists():
        partial = folder / "final.partial"
        autoencoder.save_pretrained(partial)  # type: ignore[operator]
        partial.rename(folder / "final")
    shutil.rmtree(folder.parent / "frames", ignore_errors=True)
