"""Reads a map from a text file: `#` for walls, letters for rooms by their looks, spaces for corridors; north is at the top.

A capital is an object in a room of that letter. In a map without letters every square of four by four cells has a look.
"""

import hashlib
from pathlib import Path

from malt.errors import UsageError
from malt.media.text_file import read_text
from malt.worlds.maze.map_plan import CORRIDOR, Cell, MapPlan, map_plan

WALL, LETTERS = "#", "abcdefghijklmnopqrstuvwxyz"
LARGEST = 64  # cells a side
BLOCK = 4  # cells a side of what looks alike where there are no letters
HOW = "use # for walls, spaces for corridors, a-z for rooms and A-Z for objects in them"


def read_map(path: Path) -> tuple[MapPlan, str]:
    """The floor plan of a map file, and a short name of its content.

    Raises:
        UsageError: it cannot be read, or is no map; the sentence says in which line and column.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"could not read the map {path} ({getattr(error, 'strerror', None) or error})") from error
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    plan = _Map(path, lines).plan()
    return plan, hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


class _Map:
    """The lines of a file, and where something is wrong in them."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path, self.lines = path, lines

    def plan(self) -> MapPlan:
        """The floor plan, if the lines are one."""
        if not self.lines or max(len(self.lines), *map(len, self.lines)) > LARGEST:
            raise self._wrong(0, 0, f"the map is empty or larger than {LARGEST} cells a side; {HOW}")
        open_cells, objects = dict[Cell, str](), dict[Cell, str]()
        for row, line in enumerate(self.lines):
            for column, sign in enumerate(line):
                cell = column, len(self.lines) - 1 - row
                if sign == WALL:
                    continue
                self._check(row, column, sign)
                open_cells[cell] = sign.lower()
                if sign.isupper():
                    objects[cell] = sign.lower()
        if not open_cells:
            raise self._wrong(0, 0, f"the map is all wall; {HOW}")
        plan = map_plan(_in_blocks(open_cells), objects)
        self._check_walkable(plan)
        return plan

    def _check(self, row: int, column: int, sign: str) -> None:
        if sign.lower() not in (*LETTERS, CORRIDOR):
            raise self._wrong(row, column, f"{sign!r} is no part of a map; {HOW}")
        inside = 0 < row < len(self.lines) - 1 and column > 0
        if not (inside and all(column < len(self.lines[beside]) for beside in (row - 1, row + 1))):
            raise self._wrong(row, column, "the map is open to the outside here; put a # there")
        if column == len(self.lines[row]) - 1:
            raise self._wrong(row, column + 1, "the map is open to the outside here; put a # there")

    def _check_walkable(self, plan: MapPlan) -> None:
        """Refuse rooms that cannot be reached from the first, and a single room."""
        first, *others = sorted(plan.looks)
        reached, waiting = {first}, [first]
        while waiting:
            onward = [room for room in plan.neighbours(waiting.pop()) if room not in reached]
            reached.update(onward)
            waiting += onward
        for x, y in (room for room in others if room not in reached):
            raise self._wrong(len(self.lines) - 1 - y, x, "no way leads from here to the other rooms; open a wall")
        if not others:
            x, y = first
            raise self._wrong(len(self.lines) - 1 - y, x, "this is the only room; give two letters, to walk between")

    def _wrong(self, row: int, column: int, what: str) -> UsageError:
        return UsageError(f"{self.path}, line {row + 1}, column {column + 1}: {what}")


def _in_blocks(cells: dict[Cell, str]) -> dict[Cell, str]:
    """Cells as they are, or where none has a letter, with that of the square that they lie in."""
    if any(letter != CORRIDOR for letter in cells.values()):
        return cells
    return {(x, y): LETTERS[(x // BLOCK + 5 * (y // BLOCK)) % len(LETTERS)] for x, y in cells}
