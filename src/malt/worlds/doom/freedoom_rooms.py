"""What rooms are made of in `doom`: walls, floors, ceilings and things of Freedoom, drawn from a seed for a floor plan."""

import random
from dataclasses import dataclass

from malt.worlds.maze.floor_plan import FloorPlan, Room, Standing

WALLS = (
    "ZZWOLF9",  # blue stone
    "ZZWOLF11",  # red brick
    "ZZWOLF1",  # grey stones
    "A-CAMO4",  # green leaves
    "AQBRIK02",  # orange herringbone
    "AQPANL09",  # yellow and black stripes
    "SHAWN2",  # steel
    "CEMENT9",  # white checks
    "WOOD5",  # brown planks
    "ROCKRED1",  # red rock
    "STWALL",  # orange bricks
    "AQLITE07",  # blue lights
    "MARBLE1",  # olive marble
    "CRATE1",  # crates
)
FLOORS = ("FLAT14", "FLOOR1_6", "AQF022", "FLAT5_4", "AQF047", "AQF018", "FLAT20", "SLIME16", "RROCK02", "FLOOR3_3")
CEILINGS = ("CEIL5_1", "FLAT1", "CEIL3_1", "FLAT4", "F_SKY1", "AQF048")
LIGHTS = (208, 232, 255)
# Columns, trees, torches, lamps and a barrel, by their numbers in a map editor; nothing that walks or can be taken.
THINGS = (30, 32, 35, 41, 43, 44, 45, 46, 48, 54, 70, 2028, 2035)


@dataclass(frozen=True, kw_only=True)
class FreedoomRoom:
    """One room's textures by name, and its light from 0 to 255."""

    wall: str
    floor: str
    ceiling: str
    light: int


@dataclass(frozen=True, kw_only=True)
class FreedoomPlan:
    """A floor plan with what its rooms are made of, and which thing each of its objects is."""

    plan: FloorPlan
    rooms: dict[Room, FreedoomRoom]
    things: tuple[tuple[Standing, int], ...]


DOORWAY = FreedoomRoom(wall="BROWN96", floor="FLAT5_4", ceiling="FLAT1", light=208)


def freedoom_plan(seed: int, plan: FloorPlan) -> FreedoomPlan:
    """Furnish a floor plan; no two of its rooms have the same walls or the same floor."""
    draw = random.Random(f"doom {seed}")
    walls, floors = (draw.sample(choice, len(plan.looks)) for choice in (WALLS, FLOORS))
    rooms = {
        room: FreedoomRoom(wall=wall, floor=floor, ceiling=draw.choice(CEILINGS), light=draw.choice(LIGHTS))
        for room, wall, floor in zip(sorted(plan.looks), walls, floors, strict=True)
    }
    return FreedoomPlan(plan=plan, rooms=rooms, things=tuple((each, draw.choice(THINGS)) for each in plan.objects))
