"""The world `passage` as what a run learns from."""

from functools import partial
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from malt.data.world_dataset import WorldDataset, encode_world
from malt.errors import UsageError
from malt.models.autoencoder import AutoencoderMalt
from malt.training.sources.data_source import ClipData, HeldOut, Log, TrainingData, VideoFormat
from malt.worlds.passage.captions import vocabulary
from malt.worlds.passage.scenes import SIZE, Scenes, render, sample_scenes

DATA_SEED = 10_000_000  # scenes below this seed are never trained on: they are for looking and for measuring
FORMAT = VideoFormat((SIZE, SIZE), 16.0)


class Passage:
    """The world `passage`, rendered as it is needed for the autoencoder, and once for the transformer."""

    has_clips = True

    def __init__(
        self,
        folder: Path,
        *,
        clip_frames: int,
        num_videos: int,
        num_frames: int,
        return_share: float,
        num_held_out: int,
        seed: int,
        log: Log,
    ) -> None:
        self.folder, self.clip_frames, self.seed, self.log = folder, clip_frames, seed, log
        self.num_videos, self.num_frames, self.return_share = num_videos, num_frames, return_share
        self.num_held_out = num_held_out

    def clips(self, device: str) -> ClipData:
        """Scenes at some time of their lives."""
        frames = self.clip_frames

        def draw(step: int, count: int) -> Tensor:
            return render(sample_scenes(count, DATA_SEED + step * count).to(device), 37 * step % 512, frames)

        return ClipData(
            draw,
            held_out=lambda: render(sample_scenes(32, DATA_SEED // 2).to(device), 0, frames),
            typical=lambda: render(sample_scenes(64, DATA_SEED).to(device), 0, 64),
        )

    def describe(self, autoencoder: nn.Module) -> None:
        """Nothing need be noted: the settings that an autoencoder has by itself are this world's."""

    def training_data(self, autoencoder: nn.Module) -> TrainingData:
        """The encoded scenes, rendered once and kept in `bank.safetensors`."""
        if not isinstance(autoencoder, AutoencoderMalt):
            raise UsageError(f"the world passage is not encoded by an {type(autoencoder).__name__}; leave --codec out")
        path = self.folder / "bank.safetensors"
        if path.exists():
            tensors = load_file(path)
            latents = tensors.pop("latents")
            scenes = Scenes(**tensors)
        else:
            self.log(f"encoding {self.num_videos} scenes of {self.num_frames} frames")
            latents, scenes = encode_world(autoencoder, self.num_videos, self.num_frames, DATA_SEED * 2)
            part = path.with_suffix(".partial")
            save_file({"latents": latents, **{name: t.contiguous() for name, t in vars(scenes).items()}}, part)
            part.rename(path)
        bank = WorldDataset(latents, scenes, self.seed, self.return_share)
        return TrainingData(bank, partial(self._held_out, autoencoder), vocabulary())

    def _held_out(self, autoencoder: AutoencoderMalt) -> HeldOut:
        latents, scenes = encode_world(autoencoder, self.num_held_out, self.num_frames, DATA_SEED // 2)
        return HeldOut(WorldDataset(latents, scenes, seed=0), latents.shape[1])


def check_world(asked: VideoFormat, num_frames: int, num_needed: int) -> None:
    """Refuse videos that the world has not.

    Args:
        asked: what videos are wanted.
        num_frames: video frames of each.
        num_needed: latent frames that the curriculum unrolls over.

    Raises:
        UsageError: another size, rate or length is asked for, or actions.
    """
    if (asked.size, asked.rate) != (FORMAT.size, FORMAT.rate):
        raise UsageError(f"the world passage has frames of {SIZE}x{SIZE}, 16 a second; give --data for others")
    if asked.actions:
        raise UsageError("nobody acts in the world passage; give --data with NAME.actions.csv beside the videos")
    multiple = AutoencoderMalt.time_compression
    needed = num_needed * multiple
    if num_frames % multiple or num_frames < needed:
        raise UsageError(
            f"world_frames is {num_frames}; give a multiple of {multiple} that is at least {needed}, the frames of the "
            "longest unroll"
        )
