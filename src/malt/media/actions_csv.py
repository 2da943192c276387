"""What was done in a video: a CSV file with a column for each action and a row for each frame."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from malt.errors import UsageError


class Actions(NamedTuple):
    """Names of the actions, and their values: a row a frame of the source."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "t a"]


def read_action_names(path: Path) -> tuple[str, ...]:
    """The header of a file of actions.

    Raises:
        UsageError: it cannot be read or has no header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = tuple(name.strip() for name in next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as actions ({error}); write a CSV file in UTF-8") from error
    if not names or not all(names) or len(set(names)) != len(names) or any(_is_number(name) for name in names):
        raise UsageError(f"{path} has no header; let its first line name the actions, each once")
    return names


def read_actions(path: Path) -> Actions:
    """Read a file of actions.

    Raises:
        UsageError: it cannot be read, has no header, or a row is not one finite number a column.
    """
    names, rows = read_action_names(path), []
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for row in lines:
            if row:
                rows.append(_numbers(row, len(names), f"{path}, line {lines.line_num}"))
    return Actions(names, np.array(rows, np.float32).reshape(-1, len(names)))


def _numbers(row: list[str], count: int, where: str) -> list[float]:
    if len(row) != count or not all(_is_number(cell) for cell in row):
        raise UsageError(f"{where}: {','.join(row)!r} is not {count} numbers; give one for each action")
    return [float(cell) for cell in row]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
