"""A segment as one JPEG, its frames side by side: what the page fetches to show any frame of it."""

import io
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

JPEG = {"quality": 92, "subsampling": 0}
HEADER_BYTES = 4096  # within which the header of a file ends


class FrameStrip(NamedTuple):
    """A segment as one JPEG: its frames side by side, `length` of them from frame `start` on."""

    start: int
    length: int
    jpeg: bytes


def side_by_side(pixels: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """Frames as one picture."""
    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(pixels), axis=1)).save(file, "JPEG", **JPEG)
    return file.getvalue()


def read_segment(path: Path, begin: int, end: int, scale: int) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of the fragment between two bytes of an .mp4, each pixel of which was written `scale` times each way."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        header = head[: head.index(b"moof") - 4]
        file.seek(max(begin, len(header)))
        fragment = file.read(end - file.tell())
    with av.open(io.BytesIO(header + fragment), "r", format="mp4") as container:
        pictures = [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return np.stack([np.asarray(picture.reduce(scale) if scale > 1 else picture) for picture in pictures])
