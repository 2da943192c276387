"""All features that sets of videos can be compared by here: the world's own, and those of ImageNet where they are found."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.base import World
from malt.worlds.drive.recordings import data_folder
from malt.worlds.registry import oracle_of
from malt.worlds.video_features import Features, in_parts

IMAGENET = Path("features") / "mobilenet_v2_imagenet_96.torchscript.pt"
EVERY = 8  # frames between two that ImageNet features are taken of


@dataclass(frozen=True)
class ImageNetFrames:
    """Of single frames, by a network trained on ImageNet: they see no time."""

    network: Callable[[Tensor], Tensor]
    name: str = "ImageNet frames"

    def ends(self, num_frames: int) -> list[int]:
        """Every eighth frame, from the first."""
        return list(range(1, num_frames + 1, EVERY))

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Of every eighth frame."""
        return in_parts(self.network, videos[:, ::EVERY].flatten(0, 1))


@dataclass(frozen=True)
class ImageNetDifferences:
    """Of differences between a frame and the next, by a network trained on ImageNet: they see motion."""

    network: Callable[[Tensor], Tensor]
    name: str = "ImageNet frame differences"

    def ends(self, num_frames: int) -> list[int]:
        """The later frame of every eighth difference, from the first."""
        return list(range(2, num_frames + 1, EVERY))

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Of every eighth difference, cut off outside [-1, 1]."""
        differences = (videos[:, 1:] - videos[:, :-1])[:, ::EVERY].clamp(-1, 1)
        return in_parts(self.network, differences.flatten(0, 1))


@cache
def imagenet_network() -> Callable[[Tensor], Tensor] | None:
    """The ImageNet network: (n, 3, h, w) in [-1, 1] to (n, 1280); None where the data folder has none."""
    folder = data_folder()
    if folder is None or not (folder / IMAGENET).is_file():
        return None
    network: Callable[[Tensor], Tensor] = torch.jit.load(str(folder / IMAGENET)).eval()
    return network


def available_features(world: World) -> tuple[list[Features], list[str]]:
    """The world's own features and those of ImageNet, and a sentence for those that cannot be had here."""
    own: list[Features] = [] if world.oracle is None else list(world.oracle.features())
    network = imagenet_network()
    if network is None:
        return own, [f"ImageNet features are left out: set MALT_DATA to a folder with {IMAGENET}"]
    return [*own, ImageNetFrames(network), ImageNetDifferences(network)], []


def window_features(world: World) -> Features:
    """The world's own features of short windows.

    Raises:
        UsageError: the world has no oracle.
    """
    return oracle_of(world, "a comparison of short windows").features()[0]


def features_of_moments(world: World) -> Features | None:
    """What single moments of videos are compared by: ImageNet features, or else the world's; None where there are neither."""
    if (network := imagenet_network()) is not None:
        return ImageNetFrames(network)
    return None if world.oracle is None else window_features(world)
