"""What an MP4's header says of how its frames are encoded, whichever version of a muxer wrote it.

A header also names the software that wrote it, and its stream may name its colours; neither decides whether frames that
are encoded now can stand behind those of a file. Boxes: ISO/IEC 14496-12; `avcC`: 14496-15; parameter sets: H.264, 7.3.2.
"""

from collections.abc import Iterator
from typing import NamedTuple

TRACK = (b"moov", b"trak", b"mdia")
SAMPLES = (*TRACK, b"minf", b"stbl", b"stsd")
ENTRY_START = 16  # of the sample entry in `stsd`
PARTS_START = 86  # of the boxes in a sample entry of a video
HIGH_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}


class TrackFormat(NamedTuple):
    """Frames of equal formats can follow one another in a file."""

    timescale: int
    size: bytes
    sequence: tuple[str, ...]
    picture: tuple[bytes, ...]


def read_track_format(header: bytes) -> TrackFormat:
    """The format of the first track of a file, from its first bytes up to its first fragment or beyond.

    Raises:
        ValueError: there is no track of H.264 in it.
    """
    clock = _find(header, (*TRACK, b"mdhd"))
    entry = _find(header, SAMPLES)[ENTRY_START:]
    if entry[4:8] != b"avc1":
        raise ValueError("the first track is not H.264")
    codec = _find(entry[PARTS_START:], (b"avcC",))[8:]
    at = 20 if clock[8] == 0 else 28
    timescale = int.from_bytes(clock[at : at + 4], "big")
    sequences, end = _parameter_sets(codec, 5, 0x1F)
    pictures, _ = _parameter_sets(codec, end, 0xFF)
    return TrackFormat(timescale, entry[32:36], tuple(map(_before_colours, sequences)), tuple(pictures))


def _find(data: bytes, path: tuple[bytes, ...]) -> bytes:
    """The box at the end of a path of kinds, with its own head."""
    for kind, box in _boxes(data):
        if kind == path[0]:
            return box if len(path) == 1 else _find(box[8:], path[1:])
    raise ValueError(f"there is no box {path[0].decode()}")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while len(data) >= 8 and 8 <= (length := int.from_bytes(data[:4], "big")) <= len(data):
        yield data[4:8], data[:length]
        data = data[length:]


def _parameter_sets(codec: bytes, start: int, mask: int) -> tuple[list[bytes], int]:
    """The parameter sets whose number stands at `start`, and where they end."""
    if start >= len(codec):
        raise ValueError("the codec's data are cut")
    sets, end = [], start + 1
    for _ in range(codec[start] & mask):
        length = int.from_bytes(codec[end : end + 2], "big")
        sets.append(codec[end + 2 : end + 2 + length])
        end += 2 + length
    return sets, end


def _before_colours(sequence: bytes) -> str:
    """The bits of a sequence parameter set up to what is there for players alone (VUI): colours and clocks."""
    bits = "".join(f"{byte:08b}" for byte in sequence[1:].replace(b"\0\0\3", b"\0\0"))
    reader = _Reader(bits, at=24)  # profile, constraints, level
    reader.number()
    if sequence[1] in HIGH_PROFILES:
        reader.numbers(3)
        reader.at += 2
    reader.number()
    if (order := reader.number()) == 1:
        raise ValueError("the order of pictures is counted in a way that malt does not write")
    reader.numbers(2 if order == 0 else 1)
    reader.at += 1
    reader.numbers(2)
    reader.at += 1 if bits[reader.at] == "1" else 2
    reader.at += 1
    cropped = bits[reader.at : reader.at + 1] == "1"
    reader.at += 1
    reader.numbers(4 if cropped else 0)
    return bits[: reader.at]


class _Reader:
    """Reads Exp-Golomb numbers from a text of bits."""

    def __init__(self, bits: str, at: int) -> None:
        self.bits, self.at = bits, at

    def number(self) -> int:
        """The next number."""
        first = self.bits.index("1", self.at)
        end = 2 * first - self.at + 1
        number = int(self.bits[first:end], 2) - 1
        self.at = end
        return number

    def numbers(self, count: int) -> None:
        """Pass over so many."""
        for _ in range(count):
            self.number()
