"""Paints what is seen from poses in mazes: rays to the walls, floors and ceilings under them, objects before them.

Every column of pixels is the mean of two rays and every row of floor that of two samples; the edges of walls and objects
cover pixels in part. So nothing flickers as one moves.
"""

import math
from functools import reduce

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from malt.worlds.maze.billboards import paint_objects
from malt.worlds.maze.scene_tables import SceneTables
from malt.worlds.maze.wall_textures import COLUMNS, LEVELS, ROWS, WALL_HEIGHT, WALL_WIDTH, mipmaps

VIEW = math.radians(80.0)  # what is seen from left to right
RAYS = 2  # a column, and samples of the ground a row
SHADE = 0.8  # of the walls to the north and south, so that corners can be seen
HAZE, HAZE_COLOUR = 0.035, 0.55  # what distance takes away, and towards what
AT_ONCE = 16  # frames whose intermediate values stay in a processor's cache
ON_A_GPU = 256  # frames that keep a GPU busy
NUDGE = 1e-3  # units from a wall back into the open


def paint(
    tables: SceneTables, maze: Int[Tensor, " n"], pose: Float[Tensor, "n 3"], size: tuple[int, int]
) -> Float[Tensor, "n 3 h w"]:
    """Frames in [-1, 1], one for each pose; `maze` says in which of the tables' mazes."""
    count = AT_ONCE if pose.device.type == "cpu" else ON_A_GPU
    parts = zip(maze.split(count), pose.split(count), strict=True)
    return torch.cat([_paint(tables, *part, size) for part in parts])


def focal_length(width: int) -> float:
    """Pixels that something one unit wide covers at a distance of one unit."""
    return width / (2 * math.tan(VIEW / 2))


def _paint(tables: SceneTables, maze: Tensor, pose: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    focal = focal_length(width)
    across = (torch.arange(RAYS * width, device=pose.device) + 0.5) / RAYS - width / 2
    ahead = torch.stack([pose[:, 2].cos(), pose[:, 2].sin()], dim=-1)[:, None]
    right = torch.stack([pose[:, 2].sin(), -pose[:, 2].cos()], dim=-1)[:, None]
    rays = ahead + (across / focal)[:, None] * right  # (n, rays, 2), one unit ahead each
    depth, along, region, is_north = _walls(tables, maze, pose[:, None, :2], rays)
    wall = _wall_colours(tables, maze, depth, along, region, is_north, height, focal)
    ground = _ground_colours(tables, maze, pose, rays, height, focal)
    half = (focal * WALL_HEIGHT / 2) / depth  # pixels from the horizon to the wall's edge
    rows = torch.arange(height, device=pose.device) + 0.5 - height / 2
    cover = (half[:, None] - rows.abs()[:, None] + 0.5).clamp(0, 1)[..., None]
    picture = torch.lerp(ground, wall, cover)
    picture = paint_objects(tables, maze, pose, picture, depth, across, rows, focal)
    columns = reduce(torch.add, (picture[:, :, ray::RAYS] for ray in range(RAYS))) * (2 / RAYS) - 1
    return rearrange(columns, "n h w c -> n c h w").contiguous()


def _walls(tables: SceneTables, maze: Tensor, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distance ahead of the first wall on every ray (n, rays), the way along it, the region before it, and which way it faces."""
    side = tables.walls.shape[1]
    lines = torch.arange(1, side, device=rays.device, dtype=rays.dtype)
    found = []
    for axis in (0, 1):
        towards, other = rays[..., axis, None], rays[..., 1 - axis, None]
        towards = torch.where(towards.abs() < 1e-6, 1e-6, towards)
        distance = (lines - origin[..., axis, None]) / towards  # (n, rays, lines)
        beside = (origin[..., 1 - axis, None] + distance * other).floor().long().clamp(0, side - 1)
        into = torch.where(towards > 0, lines, lines - 1).long()
        cell = into * side + beside if axis == 0 else beside * side + into
        is_wall = tables.walls.take(maze[:, None, None] * side**2 + cell)
        found.append(torch.where(is_wall & (distance > 0), distance, math.inf).amin(dim=-1))
    nearest, facing = torch.stack(found).min(dim=0)
    depth = nearest.clamp(min=0.05)
    hit = origin + depth[..., None] * rays
    before = (origin + (depth - NUDGE)[..., None] * rays).floor().long().clamp(0, side - 1)
    region = tables.region[maze[:, None], before[..., 0], before[..., 1]]
    is_north = facing == 1
    return depth, torch.where(is_north, hit[..., 0], hit[..., 1]), region, is_north


def _wall_colours(
    tables: SceneTables,
    maze: Tensor,
    depth: Tensor,
    along: Tensor,
    region: Tensor,
    is_north: Tensor,
    height: int,
    focal: float,
) -> Float[Tensor, "n h rays 3"]:
    """The colour of the wall at every row of every ray, whether or not the wall is as high."""
    texels, starts = mipmaps()
    # A copy of the texture whose texels are about half as large as what a pixel shows of the wall.
    texel_size = WALL_HEIGHT / ROWS
    level = (depth / focal / texel_size).log2().floor().clamp(0, LEVELS - 1).long()
    columns, rows = COLUMNS >> level, ROWS >> level
    pattern = tables.pattern[maze[:, None], region]
    u = torch.remainder(along - 1, 4.0).clamp(0, WALL_WIDTH - NUDGE)
    first = torch.tensor(starts, device=depth.device)[level] + pattern * rows * columns
    first = first + (u / WALL_WIDTH * columns).long()
    up = height / 2 - 0.5 - torch.arange(height, device=depth.device)  # pixels above the horizon
    v = 0.5 + up[None, :, None] * (depth / (focal * WALL_HEIGHT))[:, None]
    row = (v.clamp(0, 1 - NUDGE) * rows[:, None]).long()
    cover = texels.to(depth.device).take(first[:, None] + row * columns[:, None])
    paint = tables.paint[maze[:, None], region] * torch.where(is_north, SHADE, 1.0)[..., None]
    haze = torch.exp(-HAZE * depth)[..., None]
    paint = HAZE_COLOUR + haze.repeat(1, 1, 6) * (paint - HAZE_COLOUR)
    base, trim = paint[:, None, :, :3], paint[:, None, :, 3:]
    return torch.lerp(base, trim, cover[..., None])


def _ground_colours(
    tables: SceneTables, maze: Tensor, pose: Tensor, rays: Tensor, height: int, focal: float
) -> Float[Tensor, "n h rays 3"]:
    """Ceiling above and floor below: the eye is halfway up the wall, so both show the same places."""
    below = (torch.arange(height // 2 * RAYS, device=pose.device) + 0.5) / RAYS
    distance = (focal * WALL_HEIGHT / 2 / below).clamp(max=20.0)
    side = tables.walls.shape[1]
    column, row = (
        (pose[:, None, None, axis] + distance[:, None] * rays[:, None, :, axis]).int().clamp_(0, side - 1)
        for axis in (0, 1)
    )
    cells = (maze.int()[:, None, None] * side + column) * side + row  # (n, samples, rays)
    ground = tables.ground.flatten(0, 2)
    colours = reduce(torch.add, (F.embedding(cells[:, sample::RAYS], ground) for sample in range(RAYS))) / RAYS
    haze = torch.exp(-HAZE * distance).unflatten(0, (-1, RAYS)).mean(dim=1)[:, None, None]
    colours = torch.lerp(torch.full_like(colours, HAZE_COLOUR), colours, haze)
    return torch.cat([colours[..., 3:].flip(1), colours[..., :3]], dim=1)
