"""Reads a video of any length as a stream: frame by frame, at a rate and in a size, in memory that stays the same.

A video is a file, or a folder of pictures whose names, sorted as people count, are its frames.
Axes: n frames, h height, w width; sizes are (height, width).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps

from malt.errors import UsageError
from malt.media.images import fit

VIDEO_ENDINGS = {".mp4", ".webm", ".avi", ".mov", ".mkv", ".gif"}
PICTURE_ENDINGS = {".png", ".jpg", ".jpeg"}
CUT_OFF = 0.9  # of the time that a video should take: one that ends before was cut off
SMALL = 256 * 256  # pixels of a frame up to which one thread decodes faster than several


class BrokenVideoError(UsageError):
    """A video that cannot be read, at all or to its end."""


class Frames(NamedTuple):
    """Consecutive frames, and which frame of the source each one is."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    sources: Int[np.ndarray, " n"]


class Facts(NamedTuple):
    """What a video says of itself: frames a second (None for pictures), and about how many frames it has."""

    rate: float | None
    num_frames: int | None


class _Shot(NamedTuple):
    """One decoded frame: the seconds at which it is shown, how long if that is known, and its picture."""

    time: float
    duration: float | None
    frame: av.VideoFrame


def look_at(path: Path) -> Facts:
    """What a video says of itself, without decoding it.

    Raises:
        BrokenVideoError: it cannot be opened.
    """
    if path.is_dir():
        return Facts(None, len(pictures_in(path)))
    try:
        with av.open(str(path)) as container:
            stream = _picture_stream(container, path)
            rate = float(stream.average_rate) if stream.average_rate else None
            seconds = container.duration / av.time_base if container.duration else None
            guess = round(seconds * rate) if seconds and rate else None
            return Facts(rate, stream.frames or guess)
    except (OSError, av.FFmpegError) as error:
        raise BrokenVideoError(f"{path} is not a video that can be read") from error


def read_video(
    path: Path, size: tuple[int, int] | None = None, *, fps: float | None = None, batch: int = 64
) -> Iterator[Frames]:
    """Yield the video in batches of `batch` frames, the last of them shorter; all frames of it, or `fps` a second.

    At another rate the frame nearest in time is taken for every instant k / fps. Pictures of a folder are all taken.
    Memory in use depends on `batch` and not on how long the video is.

    Raises, at the first frame asked for or where the damage is:
        BrokenVideoError: it cannot be read, is damaged, or holds no frames.
    """
    shots = _pictures(path, size) if path.is_dir() else _film(path, size, fps)
    pixels, sources = [], []
    for picture, source in shots:
        pixels.append(picture)
        sources.append(source)
        if len(pixels) == batch:
            yield Frames(np.stack(pixels), np.array(sources))
            pixels, sources = [], []
    if pixels:
        yield Frames(np.stack(pixels), np.array(sources))


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
            with Image.open(path) as image:
                picture = fit(ImageOps.exif_transpose(image), size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise BrokenVideoError(f"{path} is not a picture that can be read") from error
        if index == 0:
            size = picture.shape[:2] if size is None else size  # the first picture decides for those after it
        yield picture, index


def _film(path: Path, size: tuple[int, int] | None, fps: float | None) -> Iterator[tuple[np.ndarray, int]]:
    shots, reformatter = _shots(path), VideoReformatter()
    if fps is None:
        for index, shot in enumerate(shots):
            yield _picture(shot.frame, reformatter, size), index
        return
    last: tuple[int, np.ndarray] | None = None
    for index, shot in _at_rate(shots, fps):
        if last is None or last[0] != index:  # a frame that is shown twice is cut to size once
            last = index, _picture(shot.frame, reformatter, size)
        yield last[1], index


def _shots(path: Path) -> Iterator[_Shot]:
    count, seen, stated = 0, 0.0, None
    try:
        with av.open(str(path)) as container:
            if container.duration and len(container.streams) == 1:  # sound may go on for longer than the picture
                stated = container.duration / av.time_base
            stream = _picture_stream(container, path)
            stream.thread_type = "AUTO" if stream.width * stream.height > SMALL else "NONE"
            rate = float(stream.average_rate or 25)
            timed = container.format.name != "avi"  # which knows when a frame is decoded, and not when it is shown
            for frame in container.decode(stream):
                time = frame.time if timed and frame.time is not None else count / rate
                duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else None
                yield _Shot(time, duration, frame)
                count, seen = count + 1, time + (duration or 1 / rate)
    except (OSError, av.FFmpegError) as error:
        where = f"is damaged after {count} frames" if count else "is not a video that can be read"
        raise BrokenVideoError(f"{path} {where}") from error
    if count == 0:
        raise BrokenVideoError(f"{path} holds no frames")
    if stated is not None and seen < CUT_OFF * stated:
        raise BrokenVideoError(f"{path} is cut off after {count} frames, {seen:.1f} of its {stated:.1f} seconds")


def _picture_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    if not container.streams.video:
        raise BrokenVideoError(f"{path} has sound but no picture")
    return container.streams.video[0]


def _at_rate(shots: Iterator[_Shot], fps: float) -> Iterator[tuple[int, _Shot]]:
    """For each instant k / fps after the first frame, the index and picture of the frame nearest to it in time."""
    taken, index, slack = 0, 0, 1e-4 / fps
    shown = next(shots)
    begin = before = shown.time
    for following in shots:
        middle = (shown.time + following.time) / 2 - begin
        while taken / fps <= middle + slack:
            yield index, shown
            taken += 1
        before, shown, index = shown.time, following, index + 1
    end = shown.time + (shown.duration or shown.time - before) - begin
    while taken == 0 or taken / fps < end - slack:
        yield index, shown
        taken += 1


def _picture(frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int] | None) -> np.ndarray:
    """The frame in RGB, as it is meant to be seen (telephones film on their side and say so), cut to `size`.

    One reformatter for all frames: a frame's own would be set up anew each time, which takes longer than its work.
    """
    pixels = reformatter.reformat(frame, format="rgb24").to_ndarray()
    if not frame.rotation % 360 and size in (None, pixels.shape[:2]):
        return pixels
    return fit(Image.fromarray(pixels).rotate(frame.rotation, expand=True), size)
