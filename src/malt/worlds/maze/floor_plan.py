"""Floor plans: a square of rooms from a seed, the doors between them, what each looks like and what stands in it.

Lengths are in units of a door's width. A room is three units wide, walls are one thick, so rooms repeat every four units.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

ROOMS = 3  # a side
PITCH = 4  # units from the middle of a room to that of the next
SIDE = PITCH * ROOMS + 1  # cells of one unit a side, outer walls included
EXTRA_DOORS = 2  # beyond those that join all rooms, so that there are ways round
OBJECTS = 5  # of the rooms, how many have something standing in them
PATTERNS = ("stripes", "bands", "checks", "diagonals", "dots", "dado")
KINDS = ("ball", "cube", "cone", "pillar")
COLOURS = {
    "red": (0.86, 0.16, 0.16),
    "orange": (0.95, 0.55, 0.12),
    "yellow": (0.93, 0.86, 0.25),
    "green": (0.20, 0.62, 0.24),
    "teal": (0.15, 0.68, 0.68),
    "blue": (0.20, 0.34, 0.86),
    "purple": (0.52, 0.24, 0.72),
    "pink": (0.95, 0.55, 0.75),
    "white": (0.90, 0.90, 0.88),
}
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # east, north, west, south: a quarter turn to the left from one to the next
Room = tuple[int, int]  # column and row


@dataclass(frozen=True, kw_only=True)
class RoomLook:
    """What a room looks like: the colours of its walls and floor by name, and the pattern on its walls."""

    wall: str
    trim: str
    floor: str
    pattern: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An object: its kind, its colour, and where its foot is."""

    room: Room
    kind: str
    colour: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class FloorPlan:
    """Rooms by column and row, the doors between them, and where one begins."""

    looks: dict[Room, RoomLook]
    doors: frozenset[frozenset[Room]]
    objects: tuple[Standing, ...]
    start: Room
    heading: int  # an index of `STEPS`

    def neighbours(self, room: Room) -> list[Room]:
        """The rooms behind its doors, in the order of `STEPS`."""
        beside = [(room[0] + dx, room[1] + dy) for dx, dy in STEPS]
        return [other for other in beside if frozenset((room, other)) in self.doors]

    @property
    def side(self) -> int:
        """Cells a side, outer walls included."""
        return SIDE

    def place(self, room: Room) -> tuple[float, float]:
        """Where the middle of a room is."""
        return middle(room)

    def way(self, room: Room, other: Room) -> list[tuple[float, float]]:
        """The ends of the straight parts of the way to the middle of a neighbour."""
        return [middle(other)]

    def open_cells(self) -> dict[tuple[int, int], Room | None]:
        """The room that every cell without a wall is part of; None for doors."""
        cells: dict[tuple[int, int], Room | None] = {
            (PITCH * column + 1 + dx, PITCH * row + 1 + dy): (column, row)
            for column, row in self.looks
            for dx in range(PITCH - 1)
            for dy in range(PITCH - 1)
        }
        for first, second in map(tuple, self.doors):
            between = tuple(PITCH * (a + b) // 2 + PITCH // 2 for a, b in zip(first, second, strict=True))
            cells[between[0], between[1]] = None
        return cells


def middle(room: Room) -> tuple[float, float]:
    """Where the middle of a room is."""
    return PITCH * room[0] + PITCH / 2 + 0.5, PITCH * room[1] + PITCH / 2 + 0.5


@lru_cache(maxsize=4096)
def floor_plan(seed: int) -> FloorPlan:
    """The floor plan of a seed."""
    draw = random.Random(seed)
    rooms = [(column, row) for column in range(ROOMS) for row in range(ROOMS)]
    looks = _looks(draw, rooms)
    return FloorPlan(
        looks=looks,
        doors=_doors(draw, rooms),
        objects=tuple(_standing(draw, room, looks[room]) for room in draw.sample(rooms, OBJECTS)),
        start=draw.choice(rooms),
        heading=draw.randrange(len(STEPS)),
    )


def _looks(draw: random.Random, rooms: list[Room]) -> dict[Room, RoomLook]:
    """Walls of every room in a colour of their own."""
    walls = draw.sample(sorted(COLOURS), len(rooms))
    looks = {}
    for room, wall in zip(rooms, walls, strict=True):
        trim, floor = draw.sample([colour for colour in COLOURS if colour != wall], 2)
        looks[room] = RoomLook(wall=wall, trim=trim, floor=floor, pattern=draw.choice(PATTERNS))
    return looks


def _doors(draw: random.Random, rooms: list[Room]) -> frozenset[frozenset[Room]]:
    """A tree that joins all rooms, found by walking on until there is no way on, and a few doors more."""
    pairs = {frozenset((a, (a[0] + dx, a[1] + dy))) for a in rooms for dx, dy in STEPS[:2]}
    possible = sorted((pair for pair in pairs if pair <= set(rooms)), key=sorted)
    way, seen, doors = [draw.choice(rooms)], set[Room](), set[frozenset[Room]]()
    while way:
        seen.add(way[-1])
        onward = [pair for pair in possible if way[-1] in pair and not pair <= seen]
        if not onward:
            way.pop()
            continue
        door = draw.choice(onward)
        doors.add(door)
        way.append(next(iter(door - {way[-1]})))
    return frozenset(doors | set(draw.sample([pair for pair in possible if pair not in doors], EXTRA_DOORS)))


def _standing(draw: random.Random, room: Room, look: RoomLook) -> Standing:
    """An object in a corner of the room, out of the way, of another colour than the walls."""
    x, y = middle(room)
    return Standing(
        room=room,
        kind=draw.choice(KINDS),
        colour=draw.choice([colour for colour in COLOURS if colour not in (look.wall, look.trim)]),
        x=x + 0.9 * draw.choice((-1, 1)),
        y=y + 0.9 * draw.choice((-1, 1)),
    )
