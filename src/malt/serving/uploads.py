"""Reads a first image or video that somebody sent: told by what it holds, never by its name, and bounded in every way."""

import time
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import UInt8

from malt.errors import UsageError
from malt.media.decode_limits import DecodeLimits
from malt.media.images import read_image
from malt.media.video_reader import read_video
from malt.media.video_track import BrokenVideoError, is_animated_webp
from malt.serving.limits import Limits
from malt.wording import counted

READABLE = "send a PNG, JPEG or WebP picture, or an MP4, WebM or GIF video"
PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
VIDEOS = {
    b"\x1aE\xdf\xa3": "matroska",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"FLV\x01": "flv",
    b"\x30\x26\xb2\x75": "asf",
    b"\0\0\x01\xba": "mpeg",
}
PACKET, SYNC = 188, 0x47  # bytes of a packet in a transport stream, and how each begins
BATCH = 16  # frames that are read at once


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
    head = file.read(PACKET + 1)
    file.seek(0)
    if not head:
        raise UsageError(f"the file that was sent is empty; {READABLE}")
    if picture := _picture_kind(head):
        return np.repeat(_read_picture(file, picture, wanted, limits)[None], wanted.fewest, axis=0)
    # The container is named, as FFmpeg's own guess may be a playlist that opens other files.
    if video := _video_kind(head):
        return _read_video(file, video, wanted, limits)
    raise UsageError(f"the file that was sent holds neither a picture nor a video; {READABLE}")


def decode_limits(limits: Limits) -> DecodeLimits:
    """The bounds of what is decoded among those of a server."""
    return DecodeLimits(
        frame_pixels=limits.upload_pixels,
        seconds=limits.upload_seconds,
        frames=limits.upload_frames,
        total_pixels=limits.upload_decoded,
    )


def _picture_kind(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and not is_animated_webp(head):
        return "WEBP"
    return next((kind for magic, kind in PICTURES.items() if head.startswith(magic)), None)


def _video_kind(head: bytes) -> str | None:
    if is_animated_webp(head):
        return "webp"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if [*head[:1], *head[PACKET:]] == [SYNC, SYNC]:
        return "mpegts"
    return next((kind for magic, kind in VIDEOS.items() if head.startswith(magic)), None)


def _read_picture(file: IO[bytes], kind: str, wanted: Wanted, limits: Limits) -> UInt8[np.ndarray, "h w 3"]:
    try:
        return read_image(file, wanted.size, limits=decode_limits(limits), kind=kind)
    except UsageError as error:
        raise UsageError(f"the picture that was sent cannot be used: {error}; {READABLE}") from error


def _read_video(file: IO[bytes], kind: str, wanted: Wanted, limits: Limits) -> UInt8[np.ndarray, "t h w 3"]:
    height, width = wanted.size
    room, frames = limits.first_bytes // (3 * height * width), list[np.ndarray]()
    bounds, end = decode_limits(limits), time.monotonic() + limits.upload_reading
    try:
        for batch in read_video(file, wanted.size, batch=BATCH, limits=bounds, fps=wanted.frame_rate, kind=kind):
            frames += list(batch.pixels[: wanted.most - len(frames)])
            if len(frames) > room:
                raise UsageError(
                    f"it becomes more than {counted(room, 'frame')} of {width}x{height}; send a shorter one"
                )
            if len(frames) == wanted.most:
                break
            if time.monotonic() > end:
                raise UsageError(
                    f"it takes more than {limits.upload_reading:g} s to read; send fewer or smaller frames"
                )
    except BrokenVideoError as error:
        raise UsageError(
            f"the video that was sent is damaged after {counted(len(frames), 'frame')}; {READABLE}"
        ) from error
    except UsageError as error:
        raise UsageError(f"the video that was sent cannot be used: {error}") from error
    if len(frames) < wanted.fewest:
        raise UsageError(f"the video that was sent has {counted(len(frames), 'frame')}; send at least {wanted.fewest}")
    return np.stack(frames)
