"""What the world lends to measuring: captions to ask for, and its own videos to compare with.

Scenes are drawn from seeds that no training uses; every seed of a measurement has scenes of its own.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from malt.worlds.passage.captions import describe
from malt.worlds.passage.scenes import Scenes, render, sample_scenes

FIRST, APART = 900_000_000, 1_000_000  # seed of the first scene, and from one seed of a measurement to the next
UNTOLD = "two shapes pass behind a wall"


def scenes_of(num: int, seed: int, *, room: int = 0) -> Scenes:
    """Scenes of a measurement's seed; `room` 0, 1, ... are disjoint sets of them."""
    return sample_scenes(num, first_scene(seed, room))


def first_scene(seed: int, room: int = 0) -> int:
    """The seed of the first scene."""
    return FIRST + APART * (16 * seed + room)


def captions_of(num: int, seed: int, *, room: int = 0) -> list[str]:
    """A caption of each of these scenes."""
    scenes, first = scenes_of(num, seed, room=room), first_scene(seed, room)
    return [describe(scenes, n, first + n).text for n in range(num)]


def film(scenes: Scenes, start: Any, num_frames: int, size: tuple[int, int]) -> Float[Tensor, "b t 3 h w"]:
    """Render scenes from frame `start` on (a number, or one a scene), in the subject's frame size."""
    starts = [start] * len(scenes) if isinstance(start, int) else start
    films = [render(scenes[n : n + 1], first, num_frames) for n, first in enumerate(starts)]
    return torch.cat([in_size(one, size) for one in films])


def in_size(videos: Float[Tensor, "b t 3 h w"], size: tuple[int, int]) -> Float[Tensor, "b t 3 h2 w2"]:
    """Videos scaled to (height, width)."""
    if tuple(videos.shape[-2:]) == size:
        return videos
    frames = F.interpolate(videos.flatten(0, 1), size, mode="bilinear", antialias=True, align_corners=False)
    return frames.unflatten(0, videos.shape[:2])
