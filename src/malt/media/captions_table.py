"""Captions of many videos in one file: CSV or JSON lines with the columns file and caption, or two lists side by side."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from malt.errors import UsageError
from malt.media.text_file import read_text
from malt.wording import counted

NAMES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl", "captions.json", "metadata.json")
FILE_COLUMNS = "file", "file_name", "filename", "video", "video_path", "path"
CAPTION_COLUMNS = "caption", "text", "prompt"
LISTED_VIDEOS, LISTED_CAPTIONS = "videos.txt", ("prompts.txt", "prompt.txt", "captions.txt")


@dataclass(frozen=True)
class CaptionTable:
    """What a file says of videos, by their names, and in which columns it says so."""

    path: Path
    captions: Mapping[str, str]
    columns: tuple[str, ...] = ()

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
    """The captions file that lies in the folder of videos, if one does; the list of captions where there are two lists."""
    lists = LISTED_CAPTIONS if (folder / LISTED_VIDEOS).is_file() else ()
    return next((folder / name for name in (*NAMES, *lists) if (folder / name).is_file()), None)


def read_captions(path: Path) -> CaptionTable:
    """Read a table of captions.

    .jsonl and .json hold one JSON object a line, or one list of them; a .txt holds a caption a line, for the videos that
    videos.txt beside it names line by line; anything else is CSV with a header. An unquoted comma in a caption that stands
    last in its row belongs to it.

    Raises:
        UsageError: there is no such file, it cannot be read, or it lacks the columns.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} of captions; check the name")
    try:
        if path.suffix.lower() == ".txt":
            return _read_lists(path)
        return _read_rows(path)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a table of captions ({error}); mend that line") from error


def _read_lists(path: Path) -> CaptionTable:
    videos, captions = (read_text(each).splitlines() for each in (path.with_name(LISTED_VIDEOS), path))
    videos = [line for line in videos if line.strip()]
    captions = captions[: len(videos)] + [line for line in captions[len(videos) :] if line.strip()]
    if len(videos) != len(captions):
        raise UsageError(
            f"{path} has {counted(len(captions), 'caption')} "
            f"and {LISTED_VIDEOS} beside it names {counted(len(videos), 'video')}; give one for each"
        )
    return CaptionTable(
        path, {_name(video): _one_line(caption) for video, caption in zip(videos, captions, strict=True)}
    )


def _read_rows(path: Path) -> CaptionTable:
    captions, columns = dict[str, str](), tuple[str, ...]()
    for row in _json_rows(path) if path.suffix.lower() in (".jsonl", ".json") else _csv_rows(path):
        columns = _pick(row, FILE_COLUMNS, path), _pick(row, CAPTION_COLUMNS, path)
        captions[_name(row[columns[0]])] = _one_line(row[columns[1]])
    return CaptionTable(path, captions, columns)


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    lines = csv.reader(io.StringIO(read_text(path), newline=""))
    header = [name.strip() for name in next(lines, [])]
    for cells in filter(None, lines):
        if len(cells) > len(header) and header and header[-1].lower() in CAPTION_COLUMNS:
            cells = [*cells[: len(header) - 1], ",".join(cells[len(header) - 1 :])]
        if len(cells) > len(header):
            raise UsageError(
                f"{path} has {len(cells)} cells in line {lines.line_num} "
                f"and {counted(len(header), 'column')}; put a caption with a comma "
                "in quotes"
            )
        yield dict(zip(header, cells, strict=False))


def _json_rows(path: Path) -> Iterator[dict[str, str]]:
    text = read_text(path)
    rows = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, filter(str.strip, text.splitlines()))
    for row in rows:
        if not isinstance(row, dict):
            raise UsageError(f'{path} has a line that is no JSON object; write {{"file": ..., "caption": ...}}')
        yield {str(name): str(value) for name, value in row.items() if value is not None}


def _pick(row: Mapping[str, str], columns: tuple[str, ...], path: Path) -> str:
    found = {name.lower(): name for name in row}
    for column in columns:
        if column in found:
            return found[column]
    raise UsageError(f"{path} has a row without {columns[0]}; give every row the columns file and caption")


def _name(cell: str) -> str:
    return str(PurePosixPath(cell.strip().replace("\\", "/")))


def _one_line(text: str) -> str:
    return " ".join(text.split())
