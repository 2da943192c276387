"""Objects as flat figures that face who looks: coverage from distances to their edges, hidden by nearer walls."""

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.maze.floor_plan import KINDS
from malt.worlds.maze.scene_tables import SceneTables
from malt.worlds.maze.wall_textures import WALL_HEIGHT

NEAREST = 0.25  # units; what is nearer is not drawn
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
    """The picture with what stands before the walls, what is far away first.

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
    edge = focal * (right.abs() - 0.5) / ahead.clamp(min=NEAREST)
    seen = (ahead > NEAREST) & (edge < across.abs().max())
    order = ahead.argsort(dim=1, descending=True)
    for place in range(order.shape[1]):
        which = order[:, place]
        frames = seen.gather(1, which[:, None])[:, 0].nonzero()[:, 0]
        if not len(frames):
            continue
        thing = which[frames]
        near, side = ahead[frames, thing], right[frames, thing]
        scale = (focal / near)[:, None, None]
        x = across / scale - side[:, None, None]
        y = WALL_HEIGHT / 2 - rows[:, None] / scale  # height above the floor
        kind, colour = tables.object_kind[maze[frames], thing], tables.object_colour[maze[frames], thing]
        distance = _distance(x, y, kind)
        cover = (0.5 - distance * scale).clamp(0, 1) * (depth[frames] > near[:, None])[:, None]
        inside = (0.5 - (distance + OUTLINE) * scale).clamp(0, 1)
        light = (0.85 - 0.5 * x + 0.15 * (y - 0.4))[..., None].clamp(0.3, 1.15)
        shown = OUTLINE_COLOUR + inside[..., None] * (light * colour[:, None, None] - OUTLINE_COLOUR)
        picture[frames] += cover[..., None] * (shown - picture[frames])
    return picture


def _distance(x: Tensor, y: Tensor, kind: Tensor) -> Tensor:
    """Units from the edge of the figure, negative inside."""
    figures = {
        "ball": (x.square() + (y - 0.36).square()).sqrt() - 0.36,
        "cube": torch.maximum(x.abs() - 0.34, (y - 0.34).abs() - 0.34),
        "cone": torch.maximum((x.abs() * 0.93 + (y - 0.95) * 0.37), -y),
        "pillar": torch.maximum(x.abs() - 0.17, (y - 0.6).abs() - 0.6),
    }
    stacked = torch.stack(torch.broadcast_tensors(*(figures[name] for name in KINDS)))
    return stacked[kind, torch.arange(len(kind), device=kind.device)]
