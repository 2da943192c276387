"""A synthetic world as what a run learns from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from malt.data.world_dataset import EncodedWorld, WorldDataset, encode_world
from malt.errors import UsageError
from malt.media.files import replacing
from malt.models.autoencoder import AutoencoderMalt
from malt.training.sources.data_source import ClipData, HeldOut, Log, TrainingData, VideoFormat
from malt.wording import counted
from malt.worlds.base import World
from malt.worlds.registry import oracle_of

DATA_SEED = 10_000_000  # videos of seeds below it are never trained on: they are for looking and for measuring


@dataclass(frozen=True, kw_only=True)
class WorldVideoSet:
    """Which videos of a world are learned from.

    num_videos, num_frames: how many are encoded, and how long each is in video frames. return_share: of the windows of
    these, how many end where something hidden comes out again. num_held_out: how many more are never learned from.
    actions: what the model is told of what is done, in its order; nothing where it takes no actions.
    """

    num_videos: int
    num_frames: int
    return_share: float
    num_held_out: int
    actions: tuple[str, ...] = ()


class WorldSource:
    """A world, rendered as it is needed for the autoencoder, and once for the transformer."""

    has_clips = True

    def __init__(
        self, world: World, folder: Path, videos: WorldVideoSet, *, clip_frames: int, seed: int, log: Log
    ) -> None:
        self.world, self.folder, self.videos = world, folder, videos
        self.clip_frames, self.seed, self.log = clip_frames, seed, log
        if videos.return_share:
            oracle_of(world, "world_return_share")

    def clips(self, device: str) -> ClipData:
        """Videos at some time of their lives."""

        def render(first: int, count: int, start: int, num_frames: int) -> Tensor:
            return self.world.render(range(first, first + count), start, num_frames, device).frames

        return ClipData(
            lambda step, count: render(DATA_SEED + step * count, count, 37 * step % 512, self.clip_frames),
            held_out=lambda: render(DATA_SEED // 2, 32, 0, self.clip_frames),
            typical=lambda: render(DATA_SEED, 64, 0, 64),
        )

    def describe(self, autoencoder: nn.Module) -> None:
        """The size and the rate of the world's videos."""
        size, rate = tuple(self.world.frame_size), float(self.world.frame_rate)
        autoencoder.register_to_config(frame_size=size, frame_rate=rate)  # type: ignore[operator]

    def training_data(self, autoencoder: nn.Module) -> TrainingData:
        """The encoded videos, rendered once and kept in `bank.safetensors`."""
        if not isinstance(autoencoder, AutoencoderMalt):
            raise UsageError(
                f"the world {self.world.name} is not encoded by {type(autoencoder).__name__}; name a folder of videos with "
                "--data, or leave --codec out"
            )
        path, first = self.folder / "bank.safetensors", DATA_SEED * 2
        if path.exists():
            tensors = load_file(path)
            encoded = EncodedWorld(tensors["latents"], tensors.get("actions"))
        else:
            self.log(
                f"encoding {counted(self.videos.num_videos, 'scene')} of {counted(self.videos.num_frames, 'frame')}"
            )
            encoded = self._encode(autoencoder, first, self.videos.num_videos)
            with replacing(path) as draft:
                save_file({name: tensor for name, tensor in encoded._asdict().items() if tensor is not None}, draft)
        encoded = encoded._replace(latents=near(encoded.latents, autoencoder.device))
        dataset = self._dataset(first, encoded, self.seed, self.videos.return_share)
        return TrainingData(dataset, lambda: self._held_out(autoencoder), self.world.words)

    def _held_out(self, autoencoder: AutoencoderMalt) -> HeldOut:
        first = DATA_SEED // 2
        encoded = self._encode(autoencoder, first, self.videos.num_held_out)
        return HeldOut(self._dataset(first, encoded, 0, 0.0), encoded.latents.shape[1])

    def _encode(self, autoencoder: AutoencoderMalt, first: int, count: int) -> EncodedWorld:
        return encode_world(self.world, autoencoder, range(first, first + count), self.videos.num_frames)

    def _dataset(self, first: int, encoded: EncodedWorld, seed: int, return_share: float) -> WorldDataset:
        seeds = range(first, first + len(encoded.latents))
        return WorldDataset(self.world, seeds, self._told(encoded), seed, return_share)

    def _told(self, encoded: EncodedWorld) -> EncodedWorld:
        """The videos with the actions that the model takes, in its order."""
        if encoded.actions is None or not self.videos.actions:
            return encoded._replace(actions=None)
        order = [self.world.action_names.index(name) for name in self.videos.actions]
        by_frame = rearrange(encoded.actions, "v s (t a) -> v s t a", a=len(self.world.action_names))
        return encoded._replace(actions=rearrange(by_frame[..., order], "v s t a -> v s (t a)"))


def near(latents: Tensor, device: torch.device) -> Tensor:
    """The latents on a GPU, where they take less than a quarter of what is free there; else where they are."""
    if device.type != "cuda":
        return latents
    free, _ = torch.cuda.mem_get_info(device)
    return latents.to(device) if latents.numel() * latents.element_size() < free / 4 else latents


def check_world(world: World, asked: VideoFormat, num_frames: int, num_needed: int) -> None:
    """Refuse videos that the world has not.

    Args:
        world: what is learned from.
        asked: what videos are wanted.
        num_frames: video frames of each.
        num_needed: latent frames that the curriculum unrolls over.

    Raises:
        UsageError: another size, rate or length is asked for, or other actions.
    """
    if (asked.size, asked.rate) != (tuple(world.frame_size), world.frame_rate):
        height, width = world.frame_size
        raise UsageError(
            f"the world {world.name} has frames of {width}x{height}, {world.frame_rate:g} a second; give --data for others"
        )
    if asked.actions and not world.action_names:
        raise UsageError(f"nobody acts in the world {world.name}; give --data with NAME.actions.csv beside the videos")
    if unknown := [name for name in asked.actions if name not in world.action_names]:
        known = ", ".join(world.action_names)
        raise UsageError(f"the world {world.name} has no action {unknown[0]}; name some of {known} with --actions")
    multiple = AutoencoderMalt.time_compression
    needed = num_needed * multiple
    if num_frames % multiple or num_frames < needed:
        raise UsageError(
            f"world_frames is {num_frames}; give a multiple of {multiple} that is at least {needed}, the frames of the "
            "longest unroll"
        )
