"""MP4 as it can be cut and gone on with: pieces of frames, each encoded for itself, that stand one behind the other.

A file is one header (`ftyp`, `moov`) and then fragments (`moof`, `mdat`) that tell when they begin. As each piece begins
with a key frame and a new encoder, its bytes depend on its frames alone, not on where a run stopped or went on.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from malt.errors import MaltError
from malt.media.frame_scale import enlarge, fit_to_encoding
from malt.media.mp4_header import read_track_format

TICKS = 1000  # of the file's clock in one tick of the frame rate's numerator
# Motion is looked for by whole pixels, as most of them are repeated ones: less work, and fewer bytes.
CODEC_OPTIONS = {"preset": "superfast", "tune": "zerolatency", "crf": "18", "x264-params": "subme=0"}
MOVFLAGS = "empty_moov+default_base_moof+frag_custom+skip_trailer"
HEADER_BOUND = 2**16  # bytes within which a header ends
CONTAINERS = (b"moof", b"traf")


class FragmentEncoder:
    """Turns pictures of one size, every pixel `scale` times each way, into the header and the fragments of an MP4."""

    def __init__(self, size: tuple[int, int], frame_rate: Fraction, *, scale: int = 1) -> None:
        """`size` is (height, width) of the pictures; odd sides are written one longer."""
        self.size, self.frame_rate, self._scale = size, frame_rate, scale
        self._header = b""

    @property
    def header(self) -> bytes:
        """What stands before the first fragment."""
        if not self._header:
            self._encode([np.zeros((*self.size, 3), np.uint8)])
        return self._header

    def fragment(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]], first_frame: int) -> bytes:
        """A piece of a video, to be put behind what ends before `first_frame`."""
        fragment = self._encode(pictures)
        for kind, start, _ in _boxes(fragment):
            if kind == b"mfhd":  # version and flags, then a number that rises
                fragment[start + 12 : start + 16] = (first_frame + 1).to_bytes(4, "big")
            if kind == b"tfdt":  # version 1 and flags, then the time of the first frame
                fragment[start + 12 : start + 20] = (first_frame * ticks_per_frame(self.frame_rate)).to_bytes(8, "big")
        return bytes(fragment)

    def _encode(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> bytearray:
        """One fragment that begins at time 0; the header is kept."""
        file = BytesIO()
        options = {"movflags": MOVFLAGS, "video_track_timescale": str(self.frame_rate.numerator * TICKS)}
        with av.open(file, "w", format="mp4", options=options) as container:
            stream = container.add_stream("libx264", rate=self.frame_rate, options=CODEC_OPTIONS)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = (side * self._scale + side * self._scale % 2 for side in self.size)
            stream.pix_fmt = "yuv420p"
            stream.gop_size = max(1, round(self.frame_rate))
            name_colours(stream)
            stream.codec_context.thread_count = 1  # more would hold frames back
            for index, frame in enumerate(_as_encoded(np.stack(pictures), self._scale)):
                frame.pts = index
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        written = file.getvalue()
        body = next(start for kind, start, _ in _boxes(written) if kind == b"moof")
        self._header = written[:body]
        return bytearray(written[body:])


def _as_encoded(pictures: UInt8[np.ndarray, "t h w 3"], scale: int) -> list[av.VideoFrame]:
    """Pictures enlarged, in brightness and colours, of which 2 x 2 pixels share one.

    They are found before pixels are repeated, where that leaves no two pixels to share, and for all pictures at once, one below
    the other: it is less work, and exact.
    """
    if scale % 2:
        even = (fit_to_encoding(picture, scale=scale, even=True) for picture in pictures)
        return [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in even]
    num, height, width, _ = pictures.shape
    below = av.VideoFrame.from_ndarray(pictures.reshape(num * height, width, 3), format="rgb24")
    bright, *colours = below.reformat(format="yuv444p").to_ndarray()
    planes = [enlarge(bright, scale), *(enlarge(colour, scale // 2) for colour in colours)]
    joined = np.concatenate([plane.reshape(num, -1) for plane in planes], axis=1).reshape(num, -1, width * scale)
    return [av.VideoFrame.from_ndarray(planes, format="yuv420p") for planes in joined]


def name_colours(stream: av.VideoStream) -> None:
    """Say in the file how FFmpeg turns RGB into what is encoded; players that have to guess take large videos for BT.709."""
    context = stream.codec_context
    context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU601
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1


def ticks_per_frame(frame_rate: Fraction) -> int:
    """How long a frame lasts by the file's clock."""
    return frame_rate.denominator * TICKS


def end_of_frame(path: Path, num_frames: int, encoder: FragmentEncoder) -> int:
    """Where in a file written with `encoder` the fragment ends that holds the last of its first `num_frames` frames.

    Raises:
        MaltError: no fragment ends there, or the file was written otherwise.
    """
    unfit = MaltError(
        f"{path} is not the video that its session wrote (it has no border at frame {num_frames}, or was encoded "
        "otherwise); put that video back in its place"
    )
    try:
        with path.open("rb") as file:
            if read_track_format(file.read(HEADER_BOUND)) != read_track_format(encoder.header):
                raise unfit
            ends = dict(_borders(file, ticks_per_frame(encoder.frame_rate)))
    except (IndexError, ValueError) as error:
        raise unfit from error
    except OSError as error:
        raise MaltError(f"cannot read {path} ({error.strerror}); put the video back in its place") from error
    if num_frames not in ends:
        if 0 < (last := max(ends)) < num_frames:
            raise MaltError(
                f"{path} is cut at frame {last} of {num_frames}; malt rewind {path} --to {last} goes back there"
            )
        raise unfit
    return ends[num_frames]


def borders(path: Path, frame_rate: Fraction) -> dict[int, int]:
    """Where in a file written so the fragments end that hold the last frame before another, by that one's number."""
    with path.open("rb") as file:
        return dict(_borders(file, ticks_per_frame(frame_rate)))


def _borders(file: BinaryIO, ticks: int) -> Iterator[tuple[int, int]]:
    """For the header and every whole fragment: the frame that follows it, and where it ends in the file."""
    size, next_frame, end = file.seek(0, 2), 0, 0
    while end + 8 <= size:
        file.seek(end)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if length < 8 or end + length > size:
            return
        if kind == b"moof":
            file.seek(end)
            next_frame = _next_frame(file.read(length), ticks)
        end += length
        if kind in (b"moov", b"mdat"):
            yield next_frame, end


def _next_frame(moof: bytes, ticks: int) -> int:
    starts = {kind: start for kind, start, _ in _boxes(moof)}
    time, count = starts[b"tfdt"] + 12, starts[b"trun"] + 12
    return int.from_bytes(moof[time : time + 8], "big") // ticks + int.from_bytes(moof[count : count + 4], "big")


def _boxes(data: bytes | bytearray, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of every box, those in a fragment's containers included."""
    while start + 8 <= (len(data) if end is None else end):
        length, kind = int.from_bytes(data[start : start + 4], "big"), bytes(data[start + 4 : start + 8])
        if length < 8:
            return
        yield kind, start, start + length
        if kind in CONTAINERS:
            yield from _boxes(data, start + 8, start + length)
        start += length
