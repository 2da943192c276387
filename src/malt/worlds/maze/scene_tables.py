"""Floor plans as tensors, side by side, so that many frames of many mazes are painted at once."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from malt.worlds.maze.floor_plan import COLOURS, KINDS, PATTERNS, FloorPlan

WOOD = (0.32, 0.24, 0.18)


@dataclass(frozen=True, kw_only=True)
class SceneTables:
    """One row for each maze; rooms are numbered column by column, and what is no room, the frames of doors, comes last."""

    walls: Bool[Tensor, "b g g"]  # by x and y
    region: Int[Tensor, "b g g"]  # the number of the room; of walls, too
    ground: Float[Tensor, "b g g 6"]  # colours of floor and ceiling
    paint: Float[Tensor, "b r 6"]  # colours of walls and their trim
    pattern: Int[Tensor, "b r"]
    object_place: Float[Tensor, "b o 2"]
    object_kind: Int[Tensor, "b o"]
    object_colour: Float[Tensor, "b o 3"]

    def to(self, device: torch.device | str) -> "SceneTables":
        """The same on a device."""
        return SceneTables(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def scene_tables(plans: Sequence[FloorPlan]) -> SceneTables:
    """The tables of these floor plans."""
    rows = [_tables(plan) for plan in plans]
    return SceneTables(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def _tables(plan: FloorPlan) -> dict[str, Tensor]:
    side, numbers = plan.side, {room: number for number, room in enumerate(sorted(plan.looks))}
    walls, region = torch.ones(side, side, dtype=torch.bool), torch.full((side, side), len(numbers))
    for cell, room in plan.open_cells().items():
        walls[cell] = False
        if room is not None:
            region[cell] = numbers[room]
    looks = [plan.looks[room] for room in sorted(plan.looks)]
    paint = [[*COLOURS[look.wall], *_trim(COLOURS[look.wall], COLOURS[look.trim])] for look in looks]
    floor = torch.tensor([COLOURS[look.floor] for look in looks])
    ground = torch.cat([0.62 * floor, 0.35 * torch.tensor(paint)[:, :3] + 0.55], dim=1)
    ground = torch.cat([ground, torch.tensor([[*WOOD, *WOOD]])])[region]
    return {
        "walls": walls,
        "region": region,
        "ground": ground * _checks(side)[..., None],
        "paint": torch.tensor([*paint, [*WOOD, *WOOD]]),
        "pattern": torch.tensor([*(PATTERNS.index(look.pattern) for look in looks), 0]),
        "object_place": torch.tensor([[thing.x, thing.y] for thing in plan.objects]).reshape(-1, 2),
        "object_kind": torch.tensor([KINDS.index(thing.kind) for thing in plan.objects], dtype=torch.long),
        "object_colour": torch.tensor([COLOURS[thing.colour] for thing in plan.objects]).reshape(-1, 3),
    }


def _trim(wall: tuple[float, ...], other: tuple[float, ...]) -> list[float]:
    """The colour of a pattern: halfway to another, so that the wall's own still says which room it is."""
    return [0.45 * a + 0.55 * b for a, b in zip(wall, other, strict=True)]


def _checks(side: int) -> Float[Tensor, "g g"]:
    """Floor tiles, dark and light in turn."""
    x, y = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return 0.82 + 0.18 * ((x + y) % 2)


def select_tables(tables: SceneTables, index: Any) -> SceneTables:
    """Some of the rows."""
    return SceneTables(**{field.name: getattr(tables, field.name)[index] for field in fields(tables)})
