"""Reads the first image or the first video that a generated video continues.

Axes: h height, w width; sizes are (height, width), pictures are resized to cover them and cropped to their middle.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from malt.errors import UsageError


def read_image(path: Path, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Read one picture, in its own size or in `size`.

    Raises:
        UsageError: there is no such file, or it holds no picture.
    """
    _check_exists(path)
    try:
        with Image.open(path) as image:
            return _fit(ImageOps.exif_transpose(image).convert("RGB"), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} is not a picture that can be read; give a PNG, JPEG or WebP file") from error


def read_video(
    path: Path, size: tuple[int, int] | None = None, *, fps: float | None = None, max_frames: int | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield the frames of a video, in its own size or in `size`, at its own rate or at `fps` frames a second.

    Raises, at the first frame asked for or where the damage is:
        UsageError: there is no such file, or it holds no video, or it is damaged.
    """
    _check_exists(path)
    frames = _decode(path)
    at_rate = frames if fps is None else _at_rate(frames, fps)
    for frame in islice(at_rate, max_frames):
        yield _fit(frame.to_image(), size)


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; check the name")


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    num_frames = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UsageError(f"{path} has sound but no picture; give a video")
            for frame in container.decode(video=0):
                num_frames += 1
                yield frame
    except (OSError, av.FFmpegError) as error:
        where = f"is damaged after {num_frames} frames" if num_frames else "is not a video that can be read"
        raise UsageError(f"{path} {where}; give another MP4, WebM or GIF file") from error
    if num_frames == 0:
        raise UsageError(f"{path} holds no frames; give another video")


def _at_rate(frames: Iterator[av.VideoFrame], fps: float) -> Iterator[av.VideoFrame]:
    """For each instant k / fps, the first frame shown no earlier."""
    num_taken = 0
    first_time: float | None = None
    for frame in frames:
        time = 0.0 if frame.time is None else frame.time
        first_time = time if first_time is None else first_time
        while num_taken / fps <= time - first_time + 1e-3:
            yield frame
            num_taken += 1


def _fit(image: Image.Image, size: tuple[int, int] | None) -> UInt8[np.ndarray, "h w 3"]:
    """Cover `size` and crop to the middle; shrinking averages areas, so pixels that were repeated come back."""
    if size is None:
        return np.asarray(image)
    height, width = size
    shrinks = image.height >= height and image.width >= width
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(image, (width, height), method=method))
