"""Objects as flat figures that face who looks: coverage from distances to their edges, hidden by nearer walls."""

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.maze.floor_plan import KINDS
from malt.worlds.maze.scene_tables import SceneTables
from malt.worlds.maze.wall_textures import WALL_HEIGHT

NEAREST = 0.25  # units; what is nearer is not drawn
WIDEST = 0.4  # units to the side of a figure's middle that it reaches at most
OUTLINE, OUTLINE_COLOUR = 0.05, 0.12


def paint_objects(
    tables: SceneTables,
    maze: Tensor,
    pose: Tensor,
    picture: Float[Tensor, "n h rays 3"],
    depth: Float[Tensor, "n rays"],
    across: Float[Tensor, " rays"],
    rows: Float[Tensor, " h"],
    focal: float,
) -> Float[Tensor, "n h rays 3"]:
    """The picture with what stands before the walls, what is far away first; painted in place.

    Args:
        tables: what stands where.
        maze: which of the tables' mazes each frame shows.
        pose: (n, 3), from where.
        picture: what is behind the objects.
        depth: how far ahead the wall is.
        across: where each ray lies, pixels to the right of the middle.
        rows: where each row lies, pixels below the middle.
        focal: pixels to a unit at a distance of one unit.
    """
    offset = tables.object_place[maze] - pose[:, None, :2]  # (n, o, 2)
    cos, sin = pose[:, 2, None].cos(), pose[:, 2, None].sin()
    ahead = offset[..., 0] * cos + offset[..., 1] * sin
    right = offset[..., 0] * sin - offset[..., 1] * cos
    pixel = ahead.clamp(min=NEAREST)[..., None] / focal  # units that it covers there
    beside = (across * pixel - right[..., None]).abs() < WIDEST + pixel  # (n, o, rays)
    seen = (ahead > NEAREST) & (beside & (depth[:, None] > ahead[..., None])).any(dim=2)
    order = ahead.argsort(dim=1, descending=True)
    kinds, colours = tables.object_kind[maze], tables.object_colour[maze]
    for frame, place in seen.gather(1, order).nonzero().tolist():
        thing = order[frame, place]
        columns = beside[frame, thing].nonzero()[:, 0]
        part = slice(int(columns[0]), int(columns[-1]) + 1)
        near, scale = ahead[frame, thing], focal / ahead[frame, thing]
        x = across[part] / scale - right[frame, thing]
        y = WALL_HEIGHT / 2 - rows[:, None] / scale  # height above the floor
        distance = _distance(x, y, KINDS[int(kinds[frame, thing])])
        cover = (0.5 - distance * scale).clamp(0, 1) * (depth[frame, part] > near)
        inside = (0.5 - (distance + OUTLINE) * scale).clamp(0, 1)
        light = (0.85 - 0.5 * x + 0.15 * (y - 0.4))[..., None].clamp(0.3, 1.15)
        shown = OUTLINE_COLOUR + inside[..., None] * (light * colours[frame, thing] - OUTLINE_COLOUR)
        behind = picture[frame, :, part]
        behind += cover[..., None] * (shown - behind)
    return picture


def _distance(x: Float[Tensor, " rays"], y: Float[Tensor, "h 1"], kind: str) -> Float[Tensor, "h rays"]:
    """Units from the edge of the figure, negative inside."""
    if kind == "ball":
        return (x.square() + (y - 0.36).square()).sqrt() - 0.36
    if kind == "cube":
        return torch.maximum(x.abs() - 0.34, (y - 0.34).abs() - 0.34)
    if kind == "cone":
        return torch.maximum((x.abs() * 0.93 + (y - 0.95) * 0.37), -y)
    return torch.maximum(x.abs() - 0.17, (y - 0.6).abs() - 0.6)  # a pillar
