"""Reads a first image or video that somebody sent: told by what it holds, never by its name, and bounded in every way."""

from collections.abc import Iterator
from os import SEEK_END
from typing import IO, NamedTuple

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from malt.errors import UsageError
from malt.serving.limits import Limits

READABLE = "send a PNG, JPEG or WebP picture, or an MP4, WebM or GIF video"
PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
FILMS = {b"\x1aE\xdf\xa3": "matroska", b"GIF87a": "gif", b"GIF89a": "gif"}
MOST_BOXES = 1000


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
    bounds = {"max_pixels": str(limits.upload_pixels)}  # held to by the decoder, whatever the header says
    claimed = _claimed_seconds(file)
    file.seek(0)
    try:
        with av.open(file, "r", format=kind, options=bounds) as container:
            stream = _check_header(container, claimed, limits)
            stream.codec_context.options = bounds
            for picture, time in _pictures(container, stream, limits):
                due = min(wanted.most, 1 + int((time + 1e-3) * wanted.frame_rate)) - len(frames)
                _check_room(len(frames) + due, wanted, limits)
                if due > 0:
                    frames += [_fit(picture.to_image(), wanted.size)] * due
                if len(frames) == wanted.most:
                    break
    except av.FFmpegError as error:
        raise UsageError(f"the video that was sent is damaged after {len(frames)} frames; {READABLE}") from error
    if len(frames) < wanted.fewest:
        raise UsageError(f"the video that was sent has {len(frames)} frames; send at least {wanted.fewest}")
    return np.stack(frames)


def _check_header(container: "av.container.InputContainer", claimed: float, limits: Limits) -> av.VideoStream:
    if not container.streams.video:
        raise UsageError(f"the video that was sent has no picture; {READABLE}")
    stream = container.streams.video[0]
    _check_pixels(stream.width, stream.height, limits)
    seconds = max(claimed, (container.duration or 0) / av.time_base)
    if stream.duration and stream.time_base:
        seconds = max(seconds, float(stream.duration * stream.time_base))
    if seconds > limits.upload_seconds:
        raise UsageError(f"the video that was sent lasts {seconds:.0f} s; send at most {limits.upload_seconds:g} s")
    return stream


def _claimed_seconds(file: IO[bytes]) -> float:
    """How long an MP4's header says that it lasts, where FFmpeg goes by the frames; 0 if it does not say."""
    place, end = 0, file.seek(0, SEEK_END)
    for _ in range(MOST_BOXES):
        file.seek(place)
        box = file.read(48)
        if box[4:8] == b"moov" and box[12:16] == b"mvhd":
            return _length_in(box[16:])
        size = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4], "big")
        place += size
        if size < 8 or place >= end:
            break
    return 0.0


def _length_in(mvhd: bytes) -> float:
    dates = (
        16 if mvhd[:1] == b"\1" else 8
    )  # bytes, behind version and flags; then the clock's ticks a second, and the length
    clock, length = mvhd[4 + dates : 8 + dates], mvhd[8 + dates : 8 + dates + dates // 2]
    unknown = not length.strip(b"\xff")
    return 0.0 if unknown else int.from_bytes(length, "big") / max(1, int.from_bytes(clock, "big"))


def _pictures(
    container: "av.container.InputContainer", stream: av.VideoStream, limits: Limits
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Every frame and the seconds since the first."""
    first_time, pixels = None, 0
    for count, frame in enumerate(container.decode(stream)):
        _check_pixels(frame.width, frame.height, limits)
        pixels += frame.width * frame.height
        time = 0.0 if frame.time is None else frame.time
        first_time = time if first_time is None else first_time
        if count >= limits.upload_frames or time - first_time > limits.upload_seconds:
            raise UsageError(
                f"the video that was sent is too long; send at most {limits.upload_seconds:g} s "
                f"and {limits.upload_frames} frames"
            )
        if pixels > limits.upload_decoded:
            raise UsageError(
                f"the first {count} frames that were sent hold as much as may be; send fewer or smaller ones"
            )
        yield frame, time - first_time


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if not width * height:
        raise UsageError(f"what was sent is damaged, or far too large; {READABLE}")
    if width * height > limits.upload_pixels:
        raise UsageError(f"a picture of {width}x{height} was sent; send at most {limits.upload_pixels} pixels")


def _check_room(num_frames: int, wanted: Wanted, limits: Limits) -> None:
    height, width = wanted.size
    room = limits.first_bytes // (3 * height * width)
    if num_frames > room:
        raise UsageError(
            f"the video that was sent becomes more than {room} frames of {width}x{height}; send a shorter one"
        )


def _fit(image: Image.Image, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Cover `size` and crop to the middle."""
    height, width = size
    shrinks = image.height >= height and image.width >= width
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(image, (width, height), method=method))
