"""Videos that a world lends to a measurement: captions to ask for, and its own renderings to compare with.

They come from seeds that no training uses, and every seed of a measurement has videos of its own.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from malt.worlds.base import World

FIRST, APART = 900_000_000, 1_000_000  # seed of the first video, and from one seed of a measurement to the next


def first_seed(seed: int, room: int = 0) -> int:
    """The seed of the first video of a measurement's seed; `room` 0, 1, ... are disjoint sets of videos."""
    return FIRST + APART * (16 * seed + room)


def seeds_of(num: int, seed: int, *, room: int = 0) -> range:
    """The seeds of so many videos."""
    first = first_seed(seed, room)
    return range(first, first + num)


def captions_of(world: World, num: int, seed: int, *, room: int = 0) -> list[str]:
    """A caption of each of these videos."""
    seeds = seeds_of(num, seed, room=room)
    return world.captions(seeds, seeds) if num else []


def true_videos(
    world: World, seeds: Sequence[int], start: int | Sequence[int], num_frames: int, size: tuple[int, int]
) -> Float[Tensor, "b t 3 h w"]:
    """Render videos from frame `start` on (one number, or one a video), in (height, width)."""
    starts = [start] * len(seeds) if isinstance(start, int) else start
    clips = [world.render([seed], first, num_frames).frames for seed, first in zip(seeds, starts, strict=True)]
    return torch.cat([in_size(clip, size) for clip in clips])


def in_size(videos: Float[Tensor, "b t 3 h w"], size: tuple[int, int]) -> Float[Tensor, "b t 3 h2 w2"]:
    """Videos scaled to (height, width)."""
    if tuple(videos.shape[-2:]) == size:
        return videos
    frames = F.interpolate(videos.flatten(0, 1), size, mode="bilinear", antialias=True, align_corners=False)
    return frames.unflatten(0, videos.shape[:2])
