"""Writes a video file frame by frame, in constant memory, so that what is written plays however the run ends.

Axes: t frames, h height, w width.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from jaxtyping import UInt8

from malt.errors import MaltError, UsageError
from malt.media.fragment_file import FragmentFile, check_size
from malt.media.frame_scale import MAX_SIDE, fit_to_encoding
from malt.media.gif_palette import FramePalette
from malt.media.mp4_fragments import FragmentEncoder, end_of_frame, name_colours
from malt.media.output_path import check_output


@dataclass(frozen=True, kw_only=True)
class VideoEncoding:
    """How one kind of file is written: its codec, and what is asked of codec and container."""

    codec: str
    pixel_format: str
    codec_options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    even_sizes: bool = True
    has_palette: bool = False


# Without look-ahead a frame leaves the encoder as it enters; clusters of a quarter of a second then bound what a killed
# run can lose. MP4 is written fragment by fragment, see `fragments`.
ENCODINGS = {
    ".webm": VideoEncoding(
        codec="libvpx-vp9",
        pixel_format="yuv420p",
        codec_options={"deadline": "realtime", "cpu-used": "6", "crf": "24", "b": "0", "lag-in-frames": "0"},
        container_options={"cluster_time_limit": "250", "flush_packets": "1"},
    ),
    ".gif": VideoEncoding(
        codec="gif",
        pixel_format="pal8",
        container_options={"flush_packets": "1"},
        even_sizes=False,
        has_palette=True,
    ),
}


ENDINGS = (".mp4", *ENCODINGS)


class VideoSink:
    """A video file that takes frames as they are made; the ending of its name (.mp4, .webm, .gif) says the format.

    The file is opened with the first frame: a run that makes none leaves what was there before. Use it as a context
    manager, or call `close`.
    """

    def __init__(self, path: Path, *, frame_rate: float, scale: int = 1, overwrite: bool = False) -> None:
        """Check that `path` can be written; `scale` repeats every pixel, for small videos in large players.

        Raises:
            UsageError: unknown ending, missing or unwritable folder, existing file without `overwrite`, bad numbers.
        """
        if not (math.isfinite(frame_rate) and 0 < frame_rate <= 1000):
            raise UsageError(f"asked for {frame_rate} frames a second; give a number above 0 and at most 1000")
        if not 1 <= scale <= MAX_SIDE:
            raise UsageError(f"asked for a scale of {scale}; give 1 to {MAX_SIDE}")
        check_output(path, overwrite=overwrite, endings=ENDINGS)
        self.path = path
        self.frame_rate = _rate(frame_rate)
        self.num_frames = 0
        self.scale = scale
        self._encoder: _Encoder | FragmentFile | None = None

    @classmethod
    def go_on(cls, path: Path, num_frames: int, *, frame_rate: float, scale: int, size: tuple[int, int]) -> "VideoSink":
        """A sink that goes on behind the first `num_frames` frames of an .mp4 written before; what follows them is cut off.

        Nothing is cut off before the first frame comes, so that a run that makes none changes nothing. `size` is
        (height, width) of the frames. The file becomes what it would be if it had been written in one go.

        Raises:
            MaltError: the file was not written so, or does not hold so many frames.
        """
        sink = cls(path, frame_rate=frame_rate, scale=scale, overwrite=True)
        end = end_in_video(path, num_frames, frame_rate=frame_rate, scale=scale, size=size)
        sink._encoder = FragmentFile(path, FragmentEncoder(size, sink.frame_rate, scale=scale), (num_frames, end))
        sink.num_frames = num_frames
        return sink

    @property
    def seconds(self) -> float:
        """How long the frames written so far last."""
        return float(self.num_frames / self.frame_rate)

    def write(self, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Append frames, which must all be of one size.

        Raises:
            MaltError: the file cannot be written any further, as on a full disk; what is there is kept, unless it is
                not even one frame.
        """
        if not len(frames):
            return
        try:
            self._encoder = self._encoder or self._open(frames[0].shape[:2])
            for num_written in self._encoder.write(list(frames), self.num_frames):
                self.num_frames += num_written
        except OSError as error:
            raise self._broken(error) from error

    @property
    def end_in_file(self) -> int:
        """Where in an .mp4 that is gone on with the next fragment begins, in bytes."""
        return self._encoder.end if isinstance(self._encoder, FragmentFile) else 0

    def sha256_at(self, frame: int) -> str | None:
        """SHA-256 of the .mp4 up to where a frame begins: the one that comes next, or that began the last fragment."""
        return self._encoder.hashes.get(frame) if isinstance(self._encoder, FragmentFile) else None

    def cut(self) -> None:
        """Cut off what follows in an .mp4 that is gone on with, without going on."""
        if isinstance(self._encoder, FragmentFile):
            self._encoder.cut()

    def sync(self) -> None:
        """Have what was written on the disk itself, so that a power cut cannot take it; for .mp4 alone."""
        try:
            if isinstance(self._encoder, FragmentFile):
                self._encoder.sync()
        except OSError as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Finish the file; closing twice is harmless."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        try:
            encoder.finish()
        except OSError as error:
            raise self._broken(error) from error

    def __enter__(self) -> "VideoSink":
        """Give the sink itself; the file is opened by the first frame."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, whatever ended the block."""
        self.close()

    def _open(self, size: tuple[int, int]) -> "_Encoder | FragmentFile":
        encoding = ENCODINGS.get(self.path.suffix.lower())
        if encoding is None:
            return FragmentFile(self.path, FragmentEncoder(size, self.frame_rate, scale=self.scale))
        return _Encoder(self.path, encoding, size, self.frame_rate, self.scale)

    def _broken(self, error: OSError) -> MaltError:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.abandon()
        if self.num_frames == 0 and self.path.is_file():
            self.path.unlink()
        reason = error.strerror or str(error)
        return MaltError(f"could not write on to {self.path} ({reason}); make room or choose another place")


def end_in_video(path: Path, num_frames: int, *, frame_rate: float, scale: int, size: tuple[int, int]) -> int:
    """Where in an .mp4 written before its first `num_frames` frames end, in bytes; the file is only read.

    Raises:
        MaltError: the file was not written so, or does not hold so many frames.
    """
    return end_of_frame(path, num_frames, FragmentEncoder(size, _rate(frame_rate), scale=scale))


def _rate(frame_rate: float) -> Fraction:
    return Fraction(frame_rate).limit_denominator(1001)


class _Encoder:
    """An open file: frames of one size go in, packets go to disk."""

    def __init__(
        self, path: Path, encoding: VideoEncoding, size: tuple[int, int], frame_rate: Fraction, scale: int
    ) -> None:
        self._size, self._scale, self._even = size, scale, encoding.even_sizes
        height, width = self._written(np.zeros((*size, 3), np.uint8)).shape[:2]
        self._palette = FramePalette(width, height, frame_rate) if encoding.has_palette else None
        self._container = av.open(f"file:{path}", "w", options=encoding.container_options)
        stream = self._container.add_stream(encoding.codec, rate=frame_rate, options=encoding.codec_options)
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = encoding.pixel_format
        self._stream.gop_size = max(1, round(frame_rate))
        if not encoding.has_palette:
            name_colours(stream)
        # More threads would hold frames back.
        self._stream.codec_context.thread_count = 1

    def write(self, pictures: list[UInt8[np.ndarray, "h w 3"]], first: int) -> Iterator[int]:
        """Encode frame by frame; yield 1 after each."""
        check_size(pictures, self._size, first)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(self._written(picture), format="rgb24")
            frame.pts = first + index
            self._encode(frame)
            yield 1

    def finish(self) -> None:
        """Write what the encoder holds and close the file."""
        if self._palette is not None:
            self._encode_all(self._palette.push(None))
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close a file that can no longer be written, leaving what is there."""
        try:
            self._container.close()
        except OSError:
            return

    def _written(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        return fit_to_encoding(picture, scale=self._scale, even=self._even)

    def _encode(self, frame: av.VideoFrame) -> None:
        self._encode_all(iter([frame]) if self._palette is None else self._palette.push(frame))

    def _encode_all(self, frames: Iterator[av.VideoFrame]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))
