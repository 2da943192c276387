"""Scenes of `passage` in which shapes stay hidden for long: they travel on behind a wall at the picture's edge.

Everything else is as in the scene of the same seed. A quarter of the scenes are ordinary ones; in half of them one shape
is hidden for long and the other as ever, so that much happens while it is away; in the last quarter both are.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from malt.worlds.base import HiddenSpan
from malt.worlds.passage.scenes import SIZE, Scenes, half_widths, in_sight, scenes_of

SHORTEST, LONGEST = 64, 2000  # frames that such a shape is hidden; as often 64 to 128 as 1,000 to 2,000
LONG_SPANS = (
    HiddenSpan(first=64, last=127),
    HiddenSpan(first=256, last=512),
    HiddenSpan(first=1000, last=2000),
)
STREAM = 1 << 40  # keeps these draws apart from those that the scene itself is made of


def long_scenes_of(seeds: Sequence[int]) -> Scenes:
    """Draw a scene from each of these seeds; it never depends on its batch."""
    scenes = scenes_of(seeds)
    u = torch.stack([torch.rand(9, generator=torch.Generator().manual_seed(STREAM + seed)) for seed in seeds])
    is_long = u[:, 0:2] < 0.5
    moved = is_long.any(1) & (scenes.wall_left >= 0) & (scenes.wall_right <= SIZE)  # a wall in the middle ends
    wide, at_left = scenes.wall_right - scenes.wall_left, u[:, 2] < 0.5
    left = torch.where(at_left, -float(SIZE), SIZE - wide)
    right = torch.where(at_left, wide, 2.0 * SIZE)
    scenes = replace(
        scenes,
        wall_left=torch.where(moved, left, scenes.wall_left),
        wall_right=torch.where(moved, right, scenes.wall_right),
    )
    hidden_frames = SHORTEST * torch.exp(u[:, 3:5] * math.log(LONGEST / SHORTEST))
    covered = torch.where(scenes.wall_left < 0, scenes.wall_right, SIZE - scenes.wall_left)[:, None]
    behind = hidden_frames * scenes.speed / 2 - (covered - half_widths(scenes) - 0.5)  # hidden on the way in and out
    long = replace(scenes, behind=torch.where(is_long, behind.clamp(min=2), scenes.behind))
    phase = torch.where(is_long.any(1, keepdim=True), in_sight(long, u[:, 5:7], u[:, 7:9]).phase, scenes.phase)
    return replace(long, phase=phase)
