"""Reads a first image or video that somebody sent: told by what it holds, never by its name, and bounded in every way."""

from collections.abc import Iterator
from typing import IO, NamedTuple

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from malt.errors import UsageError
from malt.web.limits import Limits

READABLE = "send a PNG, JPEG or WebP picture, or an MP4, WebM or GIF video"
PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
FILMS = {b"\x1aE\xdf\xa3": "matroska", b"GIF87a": "gif", b"GIF89a": "gif"}


class Wanted(NamedTuple):
    """How frames are wanted: (height, width), frames a second, and at least and at most how many."""

    size: tuple[int, int]
    frame_rate: float
    fewest: int
    most: int


def read_upload(file: IO[bytes], wanted: Wanted, limits: Limits) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames that a video is to begin with; a picture becomes as many as `wanted.fewest`.

    Raises:
        UsageError: it is no picture or video, is damaged, or goes beyond the limits.
    """
    head = file.read(16)
    file.seek(0)
    if not head:
        raise UsageError(f"the file that was sent is empty; {READABLE}")
    picture = next((kind for magic, kind in PICTURES.items() if head.startswith(magic)), None)
    if picture or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return np.repeat(_read_picture(file, picture or "WEBP", wanted, limits)[None], wanted.fewest, axis=0)
    film = next((kind for magic, kind in FILMS.items() if head.startswith(magic)), None)
    if film or head[4:8] == b"ftyp":
        return _read_film(file, film or "mp4", wanted, limits)
    raise UsageError(f"the file that was sent holds neither a picture nor a video; {READABLE}")


def _read_picture(file: IO[bytes], kind: str, wanted: Wanted, limits: Limits) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(file, formats=[kind]) as image:
            _check_pixels(image.width, image.height, limits)
            return _fit(ImageOps.exif_transpose(image).convert("RGB"), wanted.size)
    except UsageError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"the picture that was sent is damaged; {READABLE}") from error


def _read_film(file: IO[bytes], kind: str, wanted: Wanted, limits: Limits) -> UInt8[np.ndarray, "t h w 3"]:
    # The container is named, as FFmpeg's own guess may be a playlist that opens other files.
    frames: list[np.ndarray] = []
    try:
        with av.open(file, "r", format=kind) as container:
            stream = _check_header(container, limits)
            for picture, time in _pictures(container, stream, limits):
                while len(frames) < wanted.most and len(frames) / wanted.frame_rate <= time + 1e-3:
                    frames.append(_fit(picture.to_image(), wanted.size))
                if len(frames) == wanted.most:
                    break
    except av.FFmpegError as error:
        raise UsageError(f"the video that was sent is damaged after {len(frames)} frames; {READABLE}") from error
    if len(frames) < wanted.fewest:
        raise UsageError(f"the video that was sent has {len(frames)} frames; send at least {wanted.fewest}")
    return np.stack(frames)


def _check_header(container: "av.container.InputContainer", limits: Limits) -> av.VideoStream:
    if not container.streams.video:
        raise UsageError(f"the video that was sent has no picture; {READABLE}")
    stream = container.streams.video[0]
    _check_pixels(stream.width, stream.height, limits)
    seconds = (container.duration or 0) / av.time_base
    if stream.duration and stream.time_base:
        seconds = max(seconds, float(stream.duration * stream.time_base))
    if seconds > limits.upload_seconds:
        raise UsageError(f"the video that was sent lasts {seconds:.0f} s; send at most {limits.upload_seconds:g} s")
    return stream


def _pictures(
    container: "av.container.InputContainer", stream: av.VideoStream, limits: Limits
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Every frame and the seconds since the first."""
    first_time: float | None = None
    for count, frame in enumerate(container.decode(stream)):
        _check_pixels(frame.width, frame.height, limits)
        time = 0.0 if frame.time is None else frame.time
        first_time = time if first_time is None else first_time
        if count >= limits.upload_frames or time - first_time > limits.upload_seconds:
            raise UsageError(
                f"the video that was sent is too long; send at most {limits.upload_seconds:g} s "
                f"and {limits.upload_frames} frames"
            )
        yield frame, time - first_time


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if not 0 < width * height <= limits.upload_pixels:
        raise UsageError(f"a picture of {width}x{height} was sent; send at most {limits.upload_pixels} pixels")


def _fit(image: Image.Image, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Cover `size` and crop to the middle."""
    height, width = size
    shrinks = image.height >= height and image.width >= width
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(image, (width, height), method=method))
