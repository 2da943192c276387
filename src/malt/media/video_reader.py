"""Reads a video of any length as a stream: frame by frame, at a rate and in a size, in memory that stays the same.

A video is a file, or a folder of pictures whose names, sorted as people count, are its frames.
Axes: n frames, h height, w width; sizes are (height, width).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from malt.errors import UsageError
from malt.media.decode_limits import NO_LIMITS, DecodeLimits
from malt.media.images import PICTURE_ENDINGS, read_image
from malt.media.video_track import BrokenVideoError, Shot, VideoInfo, decode, is_animated_webp, read_info

VIDEO_ENDINGS = {".3gp", ".avi", ".flv", ".gif", ".h264", ".hevc", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
VIDEO_ENDINGS |= {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".webp", ".wmv"}
TRANSPORT_STREAMS = {".ts", ".mts", ".m2ts"}
TRANSPORT_SYNC = 0x47  # the first or, behind a time, the fifth byte of a transport stream


class Frames(NamedTuple):
    """Consecutive frames, and which frame of the source each one is."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    sources: Int[np.ndarray, " n"]


def is_video(path: Path) -> bool:
    """Whether a file is one to read frames from, by its ending; by how it begins where others have that ending too."""
    ending = path.suffix.lower()
    if ending not in VIDEO_ENDINGS or not path.is_file():
        return False
    if ending not in TRANSPORT_STREAMS | {".webp"}:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return True  # which is said when it is read
    return is_animated_webp(head) if ending == ".webp" else TRANSPORT_SYNC in (*head[:1], *head[4:5])


def look_at(path: Path) -> VideoInfo:
    """What a video says of itself, without decoding it.

    Raises:
        BrokenVideoError: it cannot be opened.
    """
    return VideoInfo(None, len(pictures_in(path))) if path.is_dir() else read_info(path)


def read_video(
    source: Path | IO[bytes],
    size: tuple[int, int] | None = None,
    *,
    fps: float | None = None,
    batch: int = 64,
    limits: DecodeLimits = NO_LIMITS,
    kind: str | None = None,
) -> Iterator[Frames]:
    """Yield the video in batches of `batch` frames, the last of them shorter; all frames of it, or `fps` a second.

    A frame is shown from its time until the next one's; at another rate, what is shown at every instant k / fps is taken.
    Pictures of a folder are all taken. Without a size, all frames get that of the first. Memory in use depends on `batch`
    and not on how long the video is. `limits` and `kind` are those of `decode`.

    Raises, at the first frame asked for or where the damage is:
        UsageError: there is no such file, or it goes beyond the limits.
        BrokenVideoError: it cannot be read, is damaged, or holds no frames.
    """
    if isinstance(source, Path) and not source.exists():
        raise UsageError(f"there is no file {source}; check the name")
    if isinstance(source, Path) and source.is_dir():
        pictures = _pictures(source, size)
    else:
        pictures = _render(decode(source, limits, kind), size, fps)
    pixels, sources = [], []
    for picture, index in pictures:
        pixels.append(picture)
        sources.append(index)
        if len(pixels) == batch:
            yield Frames(np.stack(pixels), np.array(sources))
            pixels, sources = [], []
    if pixels:
        yield Frames(np.stack(pixels), np.array(sources))


def count_frames(path: Path, fps: float | None = None) -> int:
    """How many frames `read_video` yields: they are decoded, and nothing is done with them.

    Raises:
        UsageError: what `read_video` raises.
    """
    if path.is_dir():
        return len(pictures_in(path))
    return sum(1 for _ in (decode(path) if fps is None else _shown_at(decode(path), fps)))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, in the order in which people count: 2 before 10."""
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_ENDINGS and path.is_file()]
    return sorted(pictures, key=lambda path: counting_order(path.name))


def counting_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers within names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def _pictures(folder: Path, size: tuple[int, int] | None) -> Iterator[tuple[np.ndarray, int]]:
    paths = pictures_in(folder)
    if not paths:
        raise BrokenVideoError(f"{folder} holds no pictures")
    for index, path in enumerate(paths):
        try:
            picture = read_image(path, size)
        except UsageError as error:
            raise BrokenVideoError(f"{path} is not a picture that can be read") from error
        height, width, _ = picture.shape
        size = size or (height, width)
        yield picture, index


def _render(shots: Iterator[Shot], size: tuple[int, int] | None, fps: float | None) -> Iterator[tuple[np.ndarray, int]]:
    last: tuple[int, np.ndarray] | None = None
    for index, shot in enumerate(shots) if fps is None else _shown_at(shots, fps):
        if last is None or last[0] != index:  # a frame that is shown twice is cut to size once
            last = index, shot.render(size)
        height, width, _ = last[1].shape
        size = size or (height, width)
        yield last[1], index


def _shown_at(shots: Iterator[Shot], fps: float) -> Iterator[tuple[int, Shot]]:
    """For each instant k / fps after the first frame, the index and the frame that is shown then.

    A file rounds its times: a frame counts as shown half a tick before its time, or a quarter of 1 / fps where that is less.
    """
    taken, index = 0, 0
    shown = next(shots)
    begin = before = shown.time
    slack = min(max(0.51 * shown.tick, 1e-4 / fps), 0.25 / fps)
    for following in shots:
        while taken / fps < following.time - begin - slack:
            yield index, shown
            taken += 1
        before, shown, index = shown.time, following, index + 1
    end = shown.time + (shown.duration or shown.time - before) - begin
    while taken == 0 or taken / fps < end - slack:
        yield index, shown
        taken += 1
