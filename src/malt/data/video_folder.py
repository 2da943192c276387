"""The videos of a folder, however deep, each with what was said of it and what was done in it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from malt.errors import UsageError
from malt.media.actions_csv import read_action_names
from malt.media.captions_table import CaptionTable, find_captions, read_captions
from malt.media.video_reader import VIDEO_ENDINGS, counting_order, pictures_in

ACTIONS_ENDING = ".actions.csv"


@dataclass(frozen=True)
class VideoFile:
    """One video: a file or a folder of pictures; its name is its path within the folder that was walked."""

    path: Path
    name: str
    caption: str = ""  # "" for none
    actions: Path | None = None  # NAME.actions.csv: a row a frame


def find_films(folder: Path, captions: Path | None = None, tell: Callable[[str], None] = print) -> list[VideoFile]:
    """All videos under `folder` (or the one file that it is), sorted by name, with their captions and actions.

    A caption comes from `captions` or a captions.csv, captions.jsonl or metadata.csv in the folder, else from NAME.txt beside
    the video, else there is none. `tell` is told of captions for videos that are not there.

    Raises:
        UsageError: there is no such folder or no video in it, or a table of captions cannot be read or matches nothing.
    """
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}; check the name")
    paths = [folder] if folder.is_file() else sorted(_walk(folder), key=lambda path: counting_order(str(path)))
    root = folder.parent if folder.is_file() else folder
    if not paths or (folder.is_file() and folder.suffix.lower() not in VIDEO_ENDINGS):
        endings = ", ".join(sorted(ending[1:] for ending in VIDEO_ENDINGS))
        raise UsageError(f"{folder} holds no videos; give a folder with {endings} files or folders of pictures")
    table = _table(captions or (None if folder.is_file() else find_captions(folder)))
    films = [_film(path, root, table) for path in paths]
    if table is not None:
        _check_captions(table, films, folder, tell)
    return films


def shared_actions(films: Sequence[VideoFile]) -> tuple[str, ...]:
    """The names of the actions that all these films have; none if no film has any.

    Raises:
        UsageError: some films have actions and others none, or others; or a file of actions has no header.
    """
    acting = [film for film in films if film.actions]
    if not acting:
        return ()
    if silent := [film for film in films if not film.actions]:
        raise UsageError(
            f"{len(silent)} of {len(films)} videos have no actions, such as {silent[0].name}; give each its "
            f"NAME{ACTIONS_ENDING}, or leave all actions out with --ignore-actions"
        )
    names = {film.name: read_action_names(film.actions) for film in acting if film.actions}
    first = names[acting[0].name]
    for film, own in names.items():
        if set(own) != set(first):
            raise UsageError(
                f"{film} has the actions {', '.join(own)} and {acting[0].name} has {', '.join(first)}; give all the same"
            )
    return first


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Videos and folders of pictures; a link back to a folder that it lies in is not followed."""
    inside = above | {folder.resolve()}
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    videos = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in VIDEO_ENDINGS]
    yield from videos
    if not videos and pictures_in(folder):
        yield folder
    for entry in entries:
        if entry.is_dir() and entry.resolve() not in inside:
            yield from _walk(entry, inside)


def _table(path: Path | None) -> CaptionTable | None:
    return None if path is None else read_captions(path)


def _check_captions(table: CaptionTable, films: list[VideoFile], folder: Path, tell: Callable[[str], None]) -> None:
    if not any(table.of(film.name) is not None for film in films):
        raise UsageError(
            f"the captions in {table.path} name none of the {len(films)} videos under {folder}; "
            "its column file is to hold their paths within that folder"
        )
    if unused := table.unused(film.name for film in films):
        tell(f"{table.path} has captions for {len(unused)} videos that are not there, such as {unused[0]}")


def _film(path: Path, root: Path, table: CaptionTable | None) -> VideoFile:
    name = path.relative_to(root).as_posix() if path != root else path.resolve().name
    stem = path.stem if path.is_file() else path.name
    caption, beside = table.of(name) if table is not None else None, path.with_name(f"{stem}.txt")
    if caption is None and beside.is_file():
        caption = _read_text(beside)
    actions = path.with_name(stem + ACTIONS_ENDING)
    return VideoFile(path, name, caption or "", actions if actions.is_file() else None)


def _read_text(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a caption; make it a text file in UTF-8") from error
