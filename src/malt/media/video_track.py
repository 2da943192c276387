"""Opens a video file and decodes its track of moving pictures, each frame with the time at which it is shown."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from malt.errors import UsageError
from malt.media.decode_limits import NO_LIMITS, DecodeLimits, claimed_seconds
from malt.media.images import UNREADABLE, fit
from malt.media.shown_frame import FrameConverter
from malt.wording import counted

CUT_OFF = 0.9  # of the time that a video should take: one that ends before was cut off
SMALL = 256 * 256  # pixels of a frame up to which one thread decodes faster than several
UNKNOWN_RATE = 25.0  # frames a second where a file says neither a rate nor time stamps
COVERS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
UNTIMED = 0.1  # seconds that a frame of an animated picture is shown which does not say how long, as browsers do
ANIMATED = 0x02  # the flag in the header of an extended WebP

Render = Callable[[tuple[int, int] | None], UInt8[np.ndarray, "h w 3"]]


class BrokenVideoError(UsageError):
    """A video that cannot be read, at all or to its end."""


class Shot(NamedTuple):
    """One decoded frame.

    Attributes:
        time: seconds at which it is shown.
        duration: seconds for which it is shown, where the file says so.
        tick: seconds to which times in this file are rounded.
        size: its height and width in the file.
        render: gives its picture in RGB, in its own size or cut to (height, width).
    """

    time: float
    duration: float | None
    tick: float
    size: tuple[int, int]
    render: Render


class VideoInfo(NamedTuple):
    """What a video says of itself: frames a second (None where it has no rate), and about how many frames it has."""

    rate: float | None
    num_frames: int | None


def is_animated_webp(head: bytes) -> bool:
    """Whether a file that begins so, in 21 bytes or more, is a WebP with several frames."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & ANIMATED)


def read_info(path: Path) -> VideoInfo:
    """What a video file says of itself, without decoding it where FFmpeg reads it.

    Raises:
        BrokenVideoError: it cannot be opened.
    """
    if _is_webp(path):
        durations = [shot.duration or 0 for shot in _decode_webp(path, str(path))]
        return VideoInfo(len(durations) / sum(durations), len(durations))
    try:
        with av.open(_url(path), "r") as container:
            stream = _main_track(container, str(path))
            rate = float(stream.average_rate) if stream.average_rate else None
            seconds = container.duration / av.time_base if container.duration else None
            guess = round(seconds * rate) if seconds and rate else None
            return VideoInfo(rate, stream.frames or guess)
    except (OSError, av.FFmpegError) as error:
        raise BrokenVideoError(f"{path} is not a video that can be read") from error


def decode(source: Path | IO[bytes], limits: DecodeLimits = NO_LIMITS, kind: str | None = None) -> Iterator[Shot]:
    """Every frame of a video in the order in which they are shown; one without time stamps is shown at its rate.

    Cover pictures and thumbnails beside the moving pictures are passed over.

    Args:
        source: a file, or one that is open.
        limits: what it may hold.
        kind: FFmpeg's name of the container, where it must not be guessed: a guess may be a playlist that opens other files.

    Raises, at the first frame or where the damage is:
        BrokenVideoError: it cannot be read, is damaged, or holds no frames.
        UsageError: it goes beyond the limits.
    """
    name = str(source) if isinstance(source, Path) else "the video that was sent"
    is_webp = kind == "webp" or (isinstance(source, Path) and _is_webp(source))
    shots = _decode_webp(source, name, limits) if is_webp else _decode_film(source, name, limits, kind)
    begin, pixels = None, 0
    for count, shot in enumerate(shots, start=1):
        begin, pixels = shot.time if begin is None else begin, pixels + shot.size[0] * shot.size[1]
        limits.check_size(shot.size[1], shot.size[0])
        limits.check_decoded(count, shot.time - begin, pixels)
        yield shot


def _decode_film(source: Path | IO[bytes], name: str, limits: DecodeLimits, kind: str | None) -> Iterator[Shot]:
    count, seen, stated = 0, 0.0, None
    claimed = 0.0 if isinstance(source, Path) else claimed_seconds(source)
    try:
        with av.open(_url(source), "r", format=kind, options=limits.decoder_options) as container:
            if container.duration and len(container.streams) == 1:  # sound may go on for longer than the picture
                stated = container.duration / av.time_base
            stream = _main_track(container, name)
            limits.check_size(stream.width, stream.height)
            limits.check_seconds(max(claimed, _stated_seconds(container, stream)))
            stream.codec_context.options = limits.decoder_options  # held to, whatever the header says
            stream.thread_type = "AUTO" if stream.width * stream.height > SMALL else "NONE"
            for shot in _shots(container, stream):
                yield shot
                count, seen = count + 1, shot.time + (shot.duration or 1 / _rate(stream))
    except (OSError, av.FFmpegError) as error:
        where = f"is damaged after {counted(count, 'frame')}" if count else "is not a video that can be read"
        raise BrokenVideoError(f"{name} {where}") from error
    if count == 0:
        raise BrokenVideoError(f"{name} holds no frames")
    if stated is not None and seen < CUT_OFF * stated:
        raise BrokenVideoError(
            f"{name} is cut off after {counted(count, 'frame')}, {seen:.1f} of its {stated:.1f} seconds"
        )


def _shots(container: InputContainer, stream: VideoStream) -> Iterator[Shot]:
    rate, time = _rate(stream), 0.0
    timed = container.format.name != "avi"  # which knows when a frame is decoded, and not when it is shown
    tick = float(stream.time_base) if stream.time_base and timed else 0.0
    convert = FrameConverter(float(stream.sample_aspect_ratio or 1))
    for count, frame in enumerate(container.decode(stream)):
        if timed and frame.time is not None and frame.time_base:
            stamp, duration = frame.time, float(frame.duration * frame.time_base) or None
        else:
            stamp, duration = count / rate, 1 / rate
        time = stamp if count == 0 else max(time, stamp)
        yield Shot(time, duration, tick, (frame.height, frame.width), partial(convert, frame))


def _decode_webp(source: Path | IO[bytes], name: str, limits: DecodeLimits = NO_LIMITS) -> Iterator[Shot]:
    """The frames of an animated WebP, which FFmpeg cannot decode."""
    time = 0.0
    try:
        with Image.open(source) as image:
            limits.check_size(image.width, image.height)
            for frame in ImageSequence.Iterator(image):
                frame.load()
                duration = frame.info.get("duration", 0) / 1000 or UNTIMED
                yield Shot(time, duration, 0.001, (frame.height, frame.width), partial(fit, frame.copy()))
                time += duration
    except UsageError:
        raise
    except UNREADABLE as error:
        raise BrokenVideoError(f"{name} is not a video that can be read") from error


def _is_webp(path: Path) -> bool:
    return path.suffix.lower() == ".webp"


def _url(source: Path | IO[bytes]) -> str | IO[bytes]:
    """What FFmpeg is to open: it would take a name such as 12:30.mp4 for an address, so it is told that it is a file."""
    return f"file:{source}" if isinstance(source, Path) else source


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or UNKNOWN_RATE)


def _stated_seconds(container: InputContainer, stream: VideoStream) -> float:
    own = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    return max(own, (container.duration or 0) / av.time_base)


def _main_track(container: InputContainer, name: str) -> VideoStream:
    """The moving pictures of a file with several tracks: no cover, the one meant to be played, and of those the largest."""
    tracks = [stream for stream in container.streams.video if not stream.disposition & COVERS]
    if not tracks:
        raise BrokenVideoError(f"{name} has sound but no picture")
    return max(tracks, key=lambda track: (track.frames != 1, Disposition.default in track.disposition, _area(track)))


def _area(stream: VideoStream) -> int:
    return stream.width * stream.height
