"""The world `passage` as what a run learns from."""

from functools import partial
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from malt.data.latents import LatentBank, encode_world
from malt.data.worlds.captions import vocabulary
from malt.data.worlds.passage import SIZE, Scenes, render, sample_scenes
from malt.errors import UsageError
from malt.models.autoencoder import AutoencoderMalt
from malt.training.experiment import Experiment
from malt.training.source import ClipSource, HeldOut, Material, Tell

DATA_SEED = 10_000_000  # scenes below this seed are never trained on: they are for looking and for measuring


class Passage:
    """The world `passage`, rendered as it is needed for the autoencoder, and once for the transformer."""

    def __init__(self, experiment: Experiment, out: Path, tell: Tell) -> None:
        if experiment.frame_size != (SIZE, SIZE) or experiment.frame_rate != 16.0:
            raise UsageError(f"the world passage has frames of {SIZE}x{SIZE}, 16 a second; give --data for others")
        if experiment.actions:
            raise UsageError("nobody acts in the world passage; give --data with NAME.actions.csv beside the videos")
        multiple, needed = AutoencoderMalt.time_compression, _frames_needed(experiment)
        if experiment.bank_frames % multiple or experiment.bank_frames < needed:
            raise UsageError(
                f"bank_frames is {experiment.bank_frames}; give a multiple of {multiple} that is at least {needed}, the frames "
                "of the longest walk"
            )
        self.experiment, self.out, self.tell = experiment, out, tell

    def clips(self, device: str) -> ClipSource:
        """Scenes at some time of their lives."""
        frames = self.experiment.clip_frames

        def draw(step: int, count: int) -> Tensor:
            return render(sample_scenes(count, DATA_SEED + step * count).to(device), 37 * step % 512, frames)

        return ClipSource(
            draw,
            held_out=lambda: render(sample_scenes(32, DATA_SEED // 2).to(device), 0, frames),
            typical=lambda: render(sample_scenes(64, DATA_SEED).to(device), 0, 64),
        )

    def describe(self, autoencoder: nn.Module) -> None:
        """Nothing need be noted: the settings that an autoencoder has by itself are this world's."""

    def material(self, autoencoder: nn.Module) -> Material:
        """The encoded scenes, rendered once and kept in `bank.safetensors`."""
        if not isinstance(autoencoder, AutoencoderMalt):
            raise UsageError(f"the world passage is not encoded by an {type(autoencoder).__name__}; leave --codec out")
        experiment, path = self.experiment, self.out / "bank.safetensors"
        if path.exists():
            tensors = load_file(path)
            latents = tensors.pop("latents")
            scenes = Scenes(**tensors)
        else:
            self.tell(f"encoding {experiment.bank_videos} scenes of {experiment.bank_frames} frames")
            latents, scenes = encode_world(autoencoder, experiment.bank_videos, experiment.bank_frames, DATA_SEED * 2)
            part = path.with_suffix(".partial")
            save_file({"latents": latents, **{name: t.contiguous() for name, t in vars(scenes).items()}}, part)
            part.rename(path)
        bank = LatentBank(latents, scenes, experiment.seed, experiment.bank_return_share)
        return Material(bank, partial(self._held_out, autoencoder), vocabulary())

    def _held_out(self, autoencoder: AutoencoderMalt) -> HeldOut:
        watching, frames = self.experiment.watching, self.experiment.bank_frames
        count = max(watching.validation_videos, watching.sample_videos)
        latents, scenes = encode_world(autoencoder, count, frames, DATA_SEED // 2)
        return HeldOut(LatentBank(latents, scenes, seed=0), latents.shape[1])


def _frames_needed(experiment: Experiment) -> int:
    """Video frames of the longest walk and the context before it."""
    size = experiment.transformer
    objectives = [objective for stage in experiment.curriculum for objective in stage.objectives]
    latents = [
        (o.unroll.num_segments * size.segment_frames + size.context_frames) * o.baseline.frame_stride
        for o in objectives
    ]
    return max(latents) * AutoencoderMalt.time_compression
