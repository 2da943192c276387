"""A video as a reader gets it while it is made: fragments of fragmented MP4, one for each segment."""

from dataclasses import dataclass
from fractions import Fraction

from malt.media.mp4_fragments import FragmentEncoder
from malt.media.pixels import to_pixels
from malt.rollouts.base import Segment


@dataclass(frozen=True)
class Fragment:
    """Bytes of an MP4, the file's header before the first of them, and which segment they show under which prompt."""

    data: bytes
    index: int
    start: int
    num_frames: int
    memory_bytes: int
    prompt: str
    mime: str


class FragmentMaker:
    """Turns the segments of one video into fragments; every pixel is written `scale` times each way."""

    def __init__(self, frame_rate: float, scale: int) -> None:
        self._frame_rate, self._scale = Fraction(frame_rate).limit_denominator(1001), scale
        self._encoder: FragmentEncoder | None = None

    def make(self, segment: Segment, prompt: str) -> Fragment:
        """The fragment that shows the first video of a segment."""
        pictures = to_pixels(segment.frames[0])
        is_first = self._encoder is None
        self._encoder = self._encoder or FragmentEncoder(pictures.shape[1:3], self._frame_rate, scale=self._scale)
        header = self._encoder.header
        return Fragment(
            data=(header if is_first else b"") + self._encoder.fragment(list(pictures), segment.start),
            index=segment.index,
            start=segment.start,
            num_frames=len(pictures),
            memory_bytes=segment.memory_bytes,
            prompt=prompt,
            mime=f'video/mp4; codecs="{codec_name(header)}"',
        )


def codec_name(header: bytes) -> str:
    """What a browser calls the codec of an MP4 with this header: avc1, then profile, constraints and level."""
    place = header.index(b"avcC") + 5  # behind the box's name and its version
    return f"avc1.{header[place : place + 3].hex()}"
