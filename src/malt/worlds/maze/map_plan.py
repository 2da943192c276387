"""Floor plans from somebody's own map: rooms of any form, the corridors between them, and the ways through both.

A room is named by the cell that is its middle; cells are one unit a side, x to the east and y to the north.
"""

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations

from malt.worlds.maze.floor_plan import COLOURS, KINDS, PATTERNS, STEPS, FloorPlan, Room, RoomLook, Standing

Cell = tuple[int, int]
CORRIDOR = " "


@dataclass(frozen=True, kw_only=True, eq=False)
class MapPlan(FloorPlan):
    """The floor plan of a map; each is itself alone.

    cells: the letter of every open cell, `CORRIDOR` where it is of no room. areas: the cells of every room.
    """

    cells: Mapping[Cell, str]
    areas: Mapping[Room, frozenset[Cell]]
    _ways: dict[tuple[Room, Room], list[tuple[float, float]]] = field(default_factory=dict, repr=False)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def side(self) -> int:
        """Cells a side, outer walls included."""
        return 2 + max(max(cell) for cell in self.cells)

    def neighbours(self, room: Room) -> list[Room]:
        """The rooms that a corridor or an open side leads to."""
        return sorted(other for door in self.doors if room in door for other in door - {room})

    def open_cells(self) -> dict[Cell, Room | None]:
        """The room that every cell without a wall is part of; None for corridors."""
        rooms = {cell: room for room, area in self.areas.items() for cell in area}
        return {cell: rooms.get(cell) for cell in self.cells}

    def place(self, room: Room) -> tuple[float, float]:
        """Where the middle of a room is."""
        return _middle(room)

    def way(self, room: Room, other: Room) -> list[tuple[float, float]]:
        """The ends of the straight parts of the shortest way to a neighbour, through corridors and the two alone."""
        if (room, other) not in self._ways:
            corridors = {cell for cell, letter in self.cells.items() if letter == CORRIDOR}
            cells = _shortest(room, other, corridors | self.areas[room] | self.areas[other])
            corners = [b for a, b, c in zip(cells, cells[1:], cells[2:], strict=False) if not _in_line(a, b, c)]
            self._ways[room, other] = [_middle(cell) for cell in (*corners, other)]
        return self._ways[room, other]


@lru_cache(maxsize=4096)
def entered(plan: MapPlan, seed: int) -> MapPlan:
    """The same map, entered where the seed says."""
    draw = random.Random(seed)
    return replace(plan, start=draw.choice(sorted(plan.looks)), heading=draw.randrange(len(STEPS)))


def map_plan(cells: Mapping[Cell, str], objects: Mapping[Cell, str]) -> MapPlan:
    """The floor plan of open cells by their letters, with an object of a letter's look in some of them."""
    rooms = {_central(area, objects): area for letter, area in _areas(cells) if letter != CORRIDOR}
    room_of = {cell: room for room, area in rooms.items() for cell in area}
    return MapPlan(
        looks={room: _look(cells[room]) for room in sorted(rooms)},
        doors=_doors(cells, room_of),
        objects=tuple(_standing(room_of[cell], cell, letter) for cell, letter in sorted(objects.items())),
        start=min(rooms),
        heading=0,
        cells=cells,
        areas=rooms,
    )


def _areas(cells: Mapping[Cell, str]) -> Iterable[tuple[str, frozenset[Cell]]]:
    """Cells of one letter that hang together."""
    left = dict(cells)
    while left:
        letter = left[first := min(left)]
        area, waiting = {first}, [first]
        while waiting:
            onward = [cell for cell in _beside(waiting.pop()) if left.get(cell) == letter and cell not in area]
            area.update(onward)
            waiting += onward
        left = {cell: each for cell, each in left.items() if cell not in area}
        yield letter, frozenset(area)


def _doors(cells: Mapping[Cell, str], room_of: Mapping[Cell, Room]) -> frozenset[frozenset[Room]]:
    """The pairs of rooms that lie beside each other or at one corridor."""
    doors = {
        frozenset((room, room_of[other]))
        for cell, room in room_of.items()
        for other in _beside(cell)
        if room_of.get(other, room) != room
    }
    for letter, area in _areas(cells):
        if letter == CORRIDOR:
            ends = {room_of[cell] for inner in area for cell in _beside(inner) if cell in room_of}
            doors |= {frozenset(pair) for pair in combinations(sorted(ends), 2)}
    return frozenset(doors)


def _shortest(start: Cell, end: Cell, through: Collection[Cell]) -> list[Cell]:
    before, waiting = {start: start}, [start]
    for cell in waiting:  # grows as it goes
        onward = [other for other in _beside(cell) if other in through and other not in before]
        before |= dict.fromkeys(onward, cell)
        waiting += onward
    way = [end]
    while way[-1] != start:
        way.append(before[way[-1]])
    return way[::-1]


def _central(area: frozenset[Cell], taken: Collection[Cell]) -> Cell:
    """The cell nearest to the middle in which nothing stands."""
    x, y = (sum(cell[axis] for cell in area) / len(area) for axis in (0, 1))
    return min(sorted(area), key=lambda cell: (cell in taken, (cell[0] - x) ** 2 + (cell[1] - y) ** 2))


def _look(letter: str) -> RoomLook:
    number, colours = ord(letter) - ord("a"), list(COLOURS)
    wall, trim, floor = (colours[(number + ahead + number // 9) % 9] for ahead in (0, 4, 7))
    return RoomLook(wall=wall, trim=trim, floor=floor, pattern=PATTERNS[number % len(PATTERNS)])


def _standing(room: Room, cell: Cell, letter: str) -> Standing:
    number, (x, y) = ord(letter) - ord("a"), _middle(cell)
    return Standing(room=room, kind=KINDS[number % len(KINDS)], colour=list(COLOURS)[(number + 2) % 9], x=x, y=y)


def _beside(cell: Cell) -> list[Cell]:
    return [(cell[0] + dx, cell[1] + dy) for dx, dy in STEPS]


def _middle(cell: Cell) -> tuple[float, float]:
    return cell[0] + 0.5, cell[1] + 0.5


def _in_line(a: Cell, b: Cell, c: Cell) -> bool:
    return a[0] == b[0] == c[0] or a[1] == b[1] == c[1]
