"""The videos of a folder, however deep, each with what was said of it and what was done in it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from malt.errors import UsageError
from malt.media.actions_csv import read_action_names
from malt.media.captions_table import CaptionTable, find_captions, read_captions
from malt.media.text_file import printable, read_text
from malt.media.video_reader import VIDEO_ENDINGS, counting_order, is_video, pictures_in
from malt.wording import counted

Log = Callable[[str], None]

ACTIONS_ENDING = ".actions.csv"
CAPTION_ENDINGS = ".txt", ".caption"
BESIDE = {*CAPTION_ENDINGS, ".csv", ".json", ".jsonl", ".md"}  # what lies beside videos and need not be told of
MAX_NAMED = 5  # kinds of files that a sentence names


@dataclass(frozen=True)
class VideoFile:
    """One video: a file or a folder of pictures; its name is its path within the folder that was walked."""

    path: Path
    name: str
    caption: str = ""  # "" for none
    actions: Path | None = None  # NAME.actions.csv: a row a frame


def find_videos(folder: Path, captions: Path | None = None, log: Log = print) -> list[VideoFile]:
    """All videos under `folder` (or the one file that it is), sorted by name, with their captions and actions.

    A caption comes from `captions`, or from a table or two lists in the folder (see `find_captions`), else from NAME.txt or
    NAME.caption beside the video, else there is none. `log` hears, a sentence each, how many videos have captions and from
    where, which captions name no video, and what was left out.

    Raises:
        UsageError: there is no such folder or no video in it, or a table of captions cannot be read or matches nothing.
    """
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}; check the name")
    found = _Found(folder, log)
    root = folder.parent if folder.is_file() else folder
    if not found.paths:
        endings = ", ".join(sorted(ending[1:] for ending in VIDEO_ENDINGS))
        raise UsageError(f"{folder} holds no videos; give a folder with {endings} files or folders of pictures")
    table_path = captions or (None if folder.is_file() else find_captions(folder))
    table = None if table_path is None else read_captions(table_path)
    videos = [found.describe(path, root, table) for path in found.paths]
    found.say_what_is_left_out()
    if table is not None:
        _check_captions(table, videos, folder, log)
    _say_captions(table, videos, log)
    return videos


def captioned_by_folder(video: VideoFile) -> VideoFile:
    """The same video; without a caption, the name of the folder that it lies in is one: `ApplyEyeMakeup` is apply eye makeup."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", video.path.resolve().parent.name).lower()
    return video if video.caption else replace(video, caption=words)


def changed_captions(videos: Sequence[VideoFile], encoded: Mapping[str, str]) -> list[str]:
    """The names of the videos that were encoded with another caption than they have now."""
    return [video.name for video in videos if encoded.get(video.name, video.caption) != video.caption]


def shared_actions(videos: Sequence[VideoFile]) -> tuple[str, ...]:
    """The names of the actions that all these videos have; none if no video has any.

    Raises:
        UsageError: some videos have actions and others none, or others; or a file of actions has no header.
    """
    acting = [video for video in videos if video.actions]
    if not acting:
        return ()
    if silent := [video for video in videos if not video.actions]:
        raise UsageError(
            f"{len(silent)} of {len(videos)} videos have no actions, such as {silent[0].name}; give each its "
            f"NAME{ACTIONS_ENDING}, or leave all actions out with --ignore-actions"
        )
    names = {video.name: read_action_names(video.actions) for video in acting if video.actions}
    first = names[acting[0].name]
    for video, own in names.items():
        if set(own) != set(first):
            raise UsageError(
                f"{video} has the actions {', '.join(own)} and {acting[0].name} has {', '.join(first)}; give all the same"
            )
    return first


@dataclass
class _Found:
    """What a walk through a folder came by: videos, what lies beside them, and what is neither."""

    folder: Path
    log: Log
    paths: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # endings of files that are no use
    beside: dict[tuple[Path, str], Path] = field(default_factory=dict)  # by folder and name in lower case

    def __post_init__(self) -> None:
        """Walk."""
        if self.folder.is_dir():
            self.paths = sorted(self._walk(self.folder), key=lambda path: counting_order(str(path)))
        elif is_video(self.folder):
            self._list(self.folder.parent)
            self.paths = [self.folder]

    def describe(self, path: Path, root: Path, table: CaptionTable | None) -> VideoFile:
        """A video with its caption and its actions."""
        name = printable(path.relative_to(root).as_posix() if path != root else path.resolve().name)
        stem = path.stem if path.is_file() else path.name
        caption = table.of(name) if table is not None else None
        beside = (self.beside.get((path.parent, (stem + ending).lower())) for ending in CAPTION_ENDINGS)
        if caption is None and (file := next(filter(None, beside), None)):
            caption = _read_caption(file)
        return VideoFile(path, name, caption or "", self.beside.get((path.parent, (stem + ACTIONS_ENDING).lower())))

    def say_what_is_left_out(self) -> None:
        """Say which kinds of files lie there that are no videos and belong to none."""
        if self.others:
            kinds = [f"{count} {ending or 'without ending'}" for ending, count in self.others.most_common(MAX_NAMED)]
            more = ", ..." if len(self.others) > MAX_NAMED else ""
            self.log(f"left out {counted(self.others.total(), 'file')} of other kinds: {', '.join(kinds)}{more}")

    def _walk(self, folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
        """Videos and folders of pictures; a link back to a folder that it lies in is not followed."""
        inside, entries = above | {folder.resolve()}, self._list(folder)
        videos = list(filter(is_video, entries))
        pictures = pictures_in(folder) if entries and not videos else []
        yield from videos
        if pictures:
            yield folder
        used = {*videos, *pictures}
        rest = [entry for entry in entries if entry not in used and entry.is_file()]
        self.others.update(ending for entry in rest if (ending := entry.suffix.lower()) not in BESIDE)
        for entry in entries:
            if entry.is_dir() and entry.resolve() not in inside:
                yield from self._walk(entry, inside)

    def _list(self, folder: Path) -> list[Path]:
        try:
            entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        except OSError as error:
            if folder == self.folder:
                raise UsageError(f"{folder} cannot be read ({error.strerror}); allow it, or give another") from error
            self.log(f"left out the folder {printable(str(folder))}, which cannot be read ({error.strerror})")
            return []
        self.beside |= {(folder, entry.name.lower()): entry for entry in entries if entry.is_file()}
        return entries


def _check_captions(table: CaptionTable, videos: Sequence[VideoFile], folder: Path, log: Log) -> None:
    if not any(table.of(video.name) is not None for video in videos):
        raise UsageError(
            f"the captions in {table.path} name none of {counted(len(videos), 'video')} under {folder}; "
            "its column file is to hold their paths within that folder"
        )
    if unused := table.unused(video.name for video in videos):
        log(f"{table.path} has captions for what is not there, {counted(len(unused), 'video')} such as {unused[0]}")


def _say_captions(table: CaptionTable | None, videos: Sequence[VideoFile], log: Log) -> None:
    count, source = sum(bool(video.caption) for video in videos), ""
    if table is not None:
        columns = f" (columns {' and '.join(table.columns)})" if table.columns else ""
        source = f"; {table.path.name}{columns} was read"
    log(f"videos with captions: {count} of {len(videos)}{source}")


def _read_caption(path: Path) -> str:
    try:
        return " ".join(read_text(path).split())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a caption; make it a text file in UTF-8") from error
