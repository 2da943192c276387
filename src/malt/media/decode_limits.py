"""Bounds on what is decoded of a file that somebody sent, as a small file can hold a video that never ends."""

import math
from dataclasses import dataclass
from os import SEEK_END
from typing import IO

from malt.errors import UsageError
from malt.wording import counted

MAX_BOXES = 1000


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What one video may hold; anything, unless something is said.

    Attributes:
        frame_pixels: pixels of a frame.
        seconds: how long it lasts, by its header and by its time stamps.
        frames: how many frames it has.
        total_pixels: pixels of all frames that are decoded.
    """

    frame_pixels: float = math.inf
    seconds: float = math.inf
    frames: float = math.inf
    total_pixels: float = math.inf

    @property
    def decoder_options(self) -> dict[str, str]:
        """What holds FFmpeg's decoders to the size of a frame."""
        return {} if math.isinf(self.frame_pixels) else {"max_pixels": str(int(self.frame_pixels))}

    def check_size(self, width: int, height: int) -> None:
        """Raise a `UsageError` for a frame that is too large, or has no size, which is how FFmpeg tells of far too large ones."""
        if not width * height:
            raise UsageError("it is damaged, or its frames are far too large")
        if width * height > self.frame_pixels:
            raise UsageError(f"it has frames of {width}x{height}; send at most {self.frame_pixels} pixels")

    def check_seconds(self, seconds: float) -> None:
        """Raise a `UsageError` for a video that lasts too long."""
        if seconds > self.seconds:
            raise UsageError(f"it lasts {seconds:.0f} s; send at most {self.seconds:g} s")

    def check_decoded(self, frames: int, seconds: float, pixels: int) -> None:
        """Raise a `UsageError` where so many frames, seconds, or pixels in all of them are too much to decode."""
        self.check_seconds(seconds)
        if frames > self.frames:
            raise UsageError(f"it has more than {counted(self.frames, 'frame')}; send a shorter one")
        if pixels > self.total_pixels:
            raise UsageError(f"its first {frames} frames hold as much as may be; send fewer or smaller ones")


NO_LIMITS = DecodeLimits()


def claimed_seconds(file: IO[bytes]) -> float:
    """How long an MP4's header says that it lasts, where FFmpeg goes by the frames; 0 if it does not say."""
    seconds, place, end = 0.0, 0, file.seek(0, SEEK_END)
    for _ in range(MAX_BOXES):
        file.seek(place)
        box = file.read(48)
        if box[4:8] == b"moov" and box[12:16] == b"mvhd":
            seconds = _length_in(box[16:])
            break
        size = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4], "big")
        place += size
        if size < 8 or place >= end:
            break
    file.seek(0)
    return seconds


def _length_in(mvhd: bytes) -> float:
    dates = (
        16 if mvhd[:1] == b"\1" else 8
    )  # bytes behind version and flags; then ticks a second, and the length in ticks
    clock, length = mvhd[4 + dates : 8 + dates], mvhd[8 + dates : 8 + dates + dates // 2]
    unknown = not length.strip(b"\xff")
    return 0.0 if unknown else int.from_bytes(length, "big") / max(1, int.from_bytes(clock, "big"))
