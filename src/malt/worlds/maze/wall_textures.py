"""What is on the walls: a pattern for each kind, as coverage from 0 to 1, with coarser copies against aliasing (mipmaps)."""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from malt.worlds.maze.floor_plan import PATTERNS

WALL_WIDTH, WALL_HEIGHT = 3.0, 1.6  # units that a pattern covers
COLUMNS, ROWS = 96, 48  # texels of the finest copy
LEVELS = 5  # copies, each with half the texels a side


@cache
def mipmaps() -> tuple[Float[Tensor, " n"], list[int]]:
    """All copies of all patterns as one list of texels, and where each copy begins in it."""
    u = (torch.arange(COLUMNS) + 0.5) / COLUMNS * WALL_WIDTH
    v = (torch.arange(ROWS) + 0.5) / ROWS * WALL_HEIGHT
    finest = torch.stack([_pattern(name, *torch.meshgrid(v, u, indexing="ij")) for name in PATTERNS])
    copies = [finest]
    for _ in range(LEVELS - 1):
        copies.append(F.avg_pool2d(copies[-1][None], 2)[0])
    starts = [sum(copy.numel() for copy in copies[:n]) for n in range(LEVELS)]
    return torch.cat([copy.flatten() for copy in copies]), starts


def _pattern(name: str, v: Tensor, u: Tensor) -> Tensor:
    """1 where the wall has the colour of its trim; v is the height, u the way along the wall."""
    if name == "stripes":
        return (torch.remainder(u, 0.75) < 0.3).float()
    if name == "bands":
        return (torch.remainder(v, 0.8) < 0.35).float()
    if name == "checks":
        return ((torch.floor(u / 0.5) + torch.floor(v / 0.4)) % 2).float()
    if name == "diagonals":
        return (torch.remainder(u + v, 1.0) < 0.4).float()
    if name == "dots":
        near = (torch.remainder(u, 0.75) - 0.375).square() + (torch.remainder(v, 0.8) - 0.4).square()
        return (near < 0.045).float()
    return (v < 0.55).float()  # a dado: the lower part of the wall
