"""Features of videos to compare sets of them by, each named for what it is.

Those of the world come with the package; the ImageNet ones are found in the folder of measuring data, where there is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.worlds.drive.recordings import data_folder
from malt.worlds.passage.world_features import CLIP_FRAMES, load_world_features

IMAGENET = Path("features") / "mobilenet_v2_imagenet_96.torchscript.pt"
AT_ONCE = 32  # clips or frames that go through a network together
EVERY = 8  # frames between two that ImageNet features are taken of


@runtime_checkable
class Features(Protocol):
    """Videos in, features out: several for each video, or one."""

    @property
    def name(self) -> str:
        """What features these are, in words."""
        ...

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Features of videos in [-1, 1]."""
        ...


@dataclass(frozen=True)
class WorldClips:
    """Of every 16-frame window, by the network taught the world's own labels; they see kind, colour and motion."""

    name: str = "world, 16-frame windows"

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Windows side by side; frames that do not fill one are left out."""
        return _in_parts(load_world_features(), windows(videos))


@dataclass(frozen=True)
class WorldVideos:
    """Of a whole video: mean and standard deviation of its windows' features, so that what changes midway is seen."""

    name: str = "world, whole videos"

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """One feature a video."""
        of_windows = rearrange(_in_parts(load_world_features(), windows(videos)), "(b k) d -> b k d", b=len(videos))
        return torch.cat([of_windows.mean(1), of_windows.std(1, unbiased=False)], dim=1)


@dataclass(frozen=True)
class ImageNetFrames:
    """Of single frames, by a network trained on ImageNet: they see no time."""

    network: Any
    name: str = "ImageNet frames"

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Of every eighth frame."""
        return _in_parts(self.network, videos[:, ::EVERY].flatten(0, 1))


@dataclass(frozen=True)
class ImageNetDifferences:
    """Of differences between a frame and the next, by a network trained on ImageNet: they see motion."""

    network: Any
    name: str = "ImageNet frame differences"

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Of every eighth difference, cut off outside [-1, 1]."""
        differences = (videos[:, 1:] - videos[:, :-1])[:, ::EVERY].clamp(-1, 1)
        return _in_parts(self.network, differences.flatten(0, 1))


@cache
def imagenet_network() -> Any | None:
    """The ImageNet network: (n, 3, h, w) in [-1, 1] to (n, 1280); None where the data folder has none."""
    folder = data_folder()
    if folder is None or not (folder / IMAGENET).is_file():
        return None
    return torch.jit.load(str(folder / IMAGENET)).eval()


def available_features() -> tuple[list[Features], list[str]]:
    """All features that can be had here, and a sentence for those that cannot."""
    world: list[Features] = [WorldClips(), WorldVideos()]
    network = imagenet_network()
    if network is None:
        return world, [f"ImageNet features are left out: set MALT_DATA to a folder with {IMAGENET}"]
    return [*world, ImageNetFrames(network), ImageNetDifferences(network)], []


def windows(videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n k 3 h w"]:
    """The 16-frame windows of videos, side by side, the first video's first; what does not fill one is left out."""
    num = videos.shape[1] // CLIP_FRAMES
    if num == 0:
        raise ValueError(f"got videos of {videos.shape[1]} frames; a window has {CLIP_FRAMES}")
    return rearrange(videos[:, : num * CLIP_FRAMES], "b (n k) c h w -> (b n) k c h w", k=CLIP_FRAMES)


@torch.no_grad()
def _in_parts(network: Any, inputs: Tensor) -> Tensor:
    return torch.cat([_flat(network(part)) for part in _parts(inputs)])


def _parts(inputs: Tensor) -> Iterator[Tensor]:
    yield from inputs.split(AT_ONCE)


def _flat(features: Tensor) -> Tensor:
    return features.flatten(1).float()
