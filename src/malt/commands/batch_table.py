"""A table of videos to make: CSV with a column for an option of `malt generate` each, and a row for each video."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from malt.commands.generate import GenerateCommand
from malt.commands.option import Option
from malt.commands.parsing import options_of
from malt.errors import UsageError
from malt.media.text_file import read_text
from malt.typed_values import read_value

SHARED = {
    "model",
    "checkpoint",
    "base",
    "adapter",
    "lora",
    "device",
    "threads",
    "offload",
    "precision",
    "compile",
    "overwrite",
}
NO_COLUMNS = SHARED | {"forever"}


@dataclass(frozen=True)
class BatchRow:
    """A row of the table: its number, counted from 1 below the header, and its cells that say something, by column.

    is_too_long: whether it has cells beyond the last column.
    """

    number: int
    cells: Mapping[str, str]
    is_too_long: bool = False

    @property
    def file_name(self) -> str:
        """What its video's file is called, wherever that leads."""
        return self.cells.get("out", f"{self.number:04}.mp4")

    @property
    def name(self) -> str:
        """What its video's file is called, within the folder of all.

        Raises:
            UsageError: it leads elsewhere.
        """
        name = self.file_name
        if Path(name).name != name:
            raise UsageError(
                f"out cannot be {name!r}; give the name of a file alone, which goes to the folder of --out"
            )
        return name

    def options(self) -> dict[str, Any]:
        """What it says, by options of `malt generate`.

        Raises:
            UsageError: a cell is of another kind, or there are more cells than columns.
        """
        if self.is_too_long:
            raise UsageError("it has more cells than the table has columns; put a prompt with a comma in quotes")
        known = columns()
        return {name: read_value(known[name].hint, [cell], name) for name, cell in self.cells.items() if name != "out"}


def columns() -> dict[str, Option]:
    """What a column may be."""
    return {option.field: option for option in options_of(GenerateCommand)[0] if option.field not in NO_COLUMNS}


def read_batch(path: Path) -> list[BatchRow]:
    """Read a table; what is wrong with a row alone is found out when the row is asked.

    Raises:
        UsageError: there is no such file, it cannot be read, has no rows, or a column that means nothing.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} of prompts; check the name")
    try:
        rows = list(_rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a table ({error}); write a CSV file in UTF-8") from error
    if not rows:
        raise UsageError(
            f"{path} has no rows; write a header, as prompt,seed,frames, and below it a row for each video"
        )
    return rows


def _rows(path: Path) -> Iterator[BatchRow]:
    lines = csv.reader(io.StringIO(read_text(path), newline=""))
    header = [name.strip().removeprefix("--").replace("-", "_") for name in next(lines, [])]
    _check_header(path, header)
    for number, cells in enumerate((line for line in lines if any(cell.strip() for cell in line)), 1):
        said = {name: cell for name, cell in zip(header, cells, strict=False) if cell.strip()}
        yield BatchRow(number, said, len(cells) > len(header))


def _check_header(path: Path, header: list[str]) -> None:
    known = columns()
    for name in header:
        if name in SHARED:
            raise UsageError(f"{path} has a column {name}, which is the same for all rows; give --{name} to malt batch")
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.7)
            did_you_mean = f", did you mean {near[0]}" if near else "; see malt generate --help"
            raise UsageError(f"{path} has a column {name!r}, which is no option of malt generate{did_you_mean}")
        if header.count(name) > 1:
            raise UsageError(f"{path} has two columns {name}; leave one out")
