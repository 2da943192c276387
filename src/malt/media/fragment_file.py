"""An .mp4 to which whole fragments are added, and what it hashes to up to its last borders.

Axes: t frames, h height, w width.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from malt.media.mp4_fragments import FragmentEncoder

CHUNK = 2**20  # bytes that are read at a time


class FragmentFile:
    """An open .mp4 to which whole fragments are added; one that cannot be added whole is taken back."""

    def __init__(self, path: Path, encoder: FragmentEncoder, begin: tuple[int, int] | None = None) -> None:
        """Write a new file, or go on behind the first so many frames, which are so many bytes, of one that is there."""
        num_frames, self.end = begin or (0, 0)
        self._encoder, self._digest = encoder, hashlib.sha256()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | (0 if self.end else os.O_TRUNC), 0o666)
        self._is_cut = not self.end
        for start in range(0, self.end, CHUNK):
            self._digest.update(os.pread(self._file, min(CHUNK, self.end - start), start))
        self.hashes = {num_frames: self._digest.hexdigest()}  # of the file up to its last two borders

    def write(self, pictures: list[UInt8[np.ndarray, "h w 3"]], first: int) -> Iterator[int]:
        """Add one fragment; yield how many frames it holds."""
        check_size(pictures, self._encoder.size, first)
        data = self._encoder.fragment(pictures, first)
        self._add(data if self.end else self._encoder.header + data)
        last = dict(list(self.hashes.items())[-1:])
        self.hashes = last | {first + len(pictures): self._digest.hexdigest()}
        yield len(pictures)

    def cut(self) -> None:
        """Cut off what follows, once."""
        if not self._is_cut:
            os.ftruncate(self._file, self.end)
            self._is_cut = True

    def sync(self) -> None:
        """Have what was written on the disk itself."""
        os.fsync(self._file)

    def finish(self) -> None:
        """Close the file."""
        os.close(self._file)

    def abandon(self) -> None:
        """Close a file that can no longer be written."""
        os.close(self._file)

    def _add(self, data: bytes) -> None:
        self.cut()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self.end + written)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, self.end)
            raise
        self._digest.update(data)
        self.end += len(data)


def check_size(pictures: list[UInt8[np.ndarray, "h w 3"]], size: tuple[int, int], first: int) -> None:
    """Raise a `ValueError` unless all pictures have one size; `first` is the number of the first."""
    for index, picture in enumerate(pictures):
        if picture.shape[:2] != size:
            raise ValueError(f"frame {first + index} is {picture.shape[:2]}, those before it {size}; give one size")
