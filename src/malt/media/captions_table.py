"""Captions of many videos in one file: CSV or JSON lines with the columns file and caption."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from malt.errors import UsageError

NAMES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
FILE_COLUMNS, CAPTION_COLUMNS = ("file", "file_name"), ("caption", "text")  # the second ones are Hugging Face's


@dataclass(frozen=True)
class CaptionTable:
    """What a file says of videos, by their names."""

    path: Path
    captions: dict[str, str]

    def of(self, name: str) -> str | None:
        """The caption of the video `name`, a path within its folder; found with its ending or without, None if not there."""
        return next((self.captions[key] for key in _keys(name) if key in self.captions), None)

    def unused(self, names: Iterable[str]) -> list[str]:
        """What the file has captions for and none of these videos is called."""
        used = {key for name in names for key in _keys(name)}
        return [key for key in self.captions if key not in used]


def _keys(name: str) -> tuple[str, ...]:
    """By which names a video may stand in a table, the most exact one first."""
    within = PurePosixPath(name)
    return name, str(within.with_suffix("")), within.name, within.stem


def find_captions(folder: Path) -> Path | None:
    """The captions file that lies in the folder of videos, if one does."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_captions(path: Path) -> CaptionTable:
    """Read a table of captions: .jsonl as one JSON object a line, anything else as CSV with a header.

    Raises:
        UsageError: there is no such file, it cannot be read, or it lacks the columns.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} of captions; check the name")
    captions: dict[str, str] = {}
    try:
        for row in _json_rows(path) if path.suffix.lower() in (".jsonl", ".json") else _csv_rows(path):
            name = PurePosixPath(str(_pick(row, FILE_COLUMNS, path)).replace("\\", "/"))
            captions[str(name)] = " ".join(str(_pick(row, CAPTION_COLUMNS, path)).split())
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a table of captions ({error}); mend that line") from error
    return CaptionTable(path, captions)


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise UsageError(f'{path} has a line that is no JSON object; write {{"file": ..., "caption": ...}}')
            yield row


def _pick(row: dict[str, Any], columns: tuple[str, ...], path: Path) -> Any:
    for column in columns:
        if row.get(column) is not None:
            return row[column]
    raise UsageError(f"{path} has a row without {columns[0]}; give every row the columns file and caption")
