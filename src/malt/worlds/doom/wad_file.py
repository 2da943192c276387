"""Maps as the engine takes them: the text of a floor plan in the format UDMF, in a WAD file.

Formats: https://doomwiki.org/wiki/UDMF and https://doomwiki.org/wiki/WAD. Map units are whole, 96 for a floor plan's one.
"""

import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from malt.worlds.doom.freedoom_rooms import DOORWAY, FreedoomPlan, FreedoomRoom
from malt.worlds.maze.floor_plan import PITCH, STEPS, Room, middle

MAP = "MAP01"
UNITS = 96  # map units, of which a player is 56 high, for one of the floor plan
ROOM_HEIGHT, DOOR_HEIGHT = 128, 96
HALF = (PITCH - 1) / 2  # of a room's side
DOOR_HALF = 0.5
PLAYER = 1
Point = tuple[float, float]


def write_wad(path: Path, plan: FreedoomPlan) -> None:
    """Write the map of a plan as a WAD file."""
    lumps = [(MAP, b""), ("TEXTMAP", _MapText(plan).text().encode()), ("ENDMAP", b"")]
    directory, data, start = b"", b"", struct.calcsize("<4sii")
    for name, lump in lumps:
        directory += struct.pack("<ii8s", start + len(data), len(lump), name.encode())
        data += lump
    path.write_bytes(struct.pack("<4sii", b"PWAD", len(lumps), start + len(data)) + data + directory)


def map_units(length: float) -> int:
    """A length of a floor plan in map units."""
    return round(UNITS * length)


class _MapText:
    """The blocks of a map, by kind; rooms and the doorways between them are sectors."""

    def __init__(self, plan: FreedoomPlan) -> None:
        self._points: dict[tuple[int, int], int] = {}
        self._blocks: dict[str, list[str]] = {kind: [] for kind in ("thing", "linedef", "sidedef", "sector")}
        self._thing(PLAYER, *middle(plan.plan.start))
        for standing, number in plan.things:
            self._thing(number, standing.x, standing.y)
        doorways = {door: self._sector(DOORWAY, DOOR_HEIGHT) for door in sorted(plan.plan.doors, key=sorted)}
        for room, look in plan.rooms.items():
            sector = self._sector(look, ROOM_HEIGHT)
            for side, (dx, dy) in enumerate(STEPS):
                beyond = doorways.get(frozenset({room, (room[0] + dx, room[1] + dy)}))
                self._wall(room, side, look.wall, sector, beyond)
        for door, sector in doorways.items():
            first, second = sorted(door)
            self._doorway(first, 0 if second[0] > first[0] else 1, sector)

    def text(self) -> str:
        """The whole of it."""
        points = [_block("vertex", {"x": float(x), "y": float(y)}) for x, y in self._points]
        return "\n".join(
            ['namespace = "zdoom";', *points, *(block for kind in self._blocks.values() for block in kind)]
        )

    def _wall(self, room: Room, side: int, texture: str, sector: int, beyond: int | None) -> None:
        """A side of a room, with a doorway in its middle or without; the room is to the right of its lines."""
        stops = (HALF, -HALF) if beyond is None else (HALF, DOOR_HALF, -DOOR_HALF, -HALF)
        points = [_beside(middle(room), (HALF, along), side) for along in stops]
        for number, (a, b) in enumerate(pairwise(points)):
            self._line(a, b, sector, texture, beyond if number == 1 else None)

    def _doorway(self, room: Room, side: int, sector: int) -> None:
        """The two walls of the doorway on this side of a room."""
        for along in (DOOR_HALF, -DOOR_HALF):
            a, b = (_beside(middle(room), (out, along), side) for out in (HALF, PITCH - HALF))
            self._line(*((a, b) if along > 0 else (b, a)), sector, DOORWAY.wall, None)

    def _line(self, a: Point, b: Point, sector: int, texture: str, beyond: int | None) -> None:
        """A line with a sector on its right and, where it can be passed, another on its left."""
        ends: dict[str, object] = {"v1": self._point(*a), "v2": self._point(*b)}
        if beyond is None:
            side = self._add("sidedef", {"sector": sector, "texturemiddle": texture})
            self._add("linedef", ends | {"sidefront": side, "blocking": True})
        else:
            front = self._add("sidedef", {"sector": sector, "texturetop": texture})
            back = self._add("sidedef", {"sector": beyond})
            self._add("linedef", ends | {"sidefront": front, "sideback": back, "twosided": True})

    def _point(self, x: float, y: float) -> int:
        return self._points.setdefault((map_units(x), map_units(y)), len(self._points))

    def _sector(self, look: FreedoomRoom, height: int) -> int:
        textures = {"texturefloor": look.floor, "textureceiling": look.ceiling}
        return self._add("sector", {"heightceiling": height, "lightlevel": look.light, **textures})

    def _thing(self, number: int, x: float, y: float) -> None:
        place = {"x": float(map_units(x)), "y": float(map_units(y))}
        skills = {f"skill{level}": True for level in range(1, 6)}
        self._add("thing", {"type": number, **place, "single": True, **skills})

    def _add(self, kind: str, fields: Mapping[str, object]) -> int:
        self._blocks[kind].append(_block(kind, fields))
        return len(self._blocks[kind]) - 1


def _block(kind: str, fields: Mapping[str, object]) -> str:
    return kind + " {" + " ".join(f"{name} = {_word(value)};" for name, value in fields.items()) + "}"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _beside(centre: Point, offset: Point, side: int) -> Point:
    """A point at an offset (outwards, along to the left) from a centre, on a side of it as `STEPS` numbers them."""
    (dx, dy), (out, along) = STEPS[side], offset
    return centre[0] + out * dx - along * dy, centre[1] + out * dy + along * dx
