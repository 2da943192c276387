"""Laws of headers: formats are told apart by what decides decoding, and by nothing else."""

import re
from fractions import Fraction

import pytest

from malt.media import mp4_fragments
from malt.media.mp4_fragments import FragmentEncoder
from malt.media.mp4_header import read_track_format


def header(height: int = 64, width: int = 64, rate: Fraction = Fraction(16)) -> bytes:
    return FragmentEncoder((height, width), rate).header


@pytest.mark.parametrize("other", [header(66), header(64, 66), header(rate=Fraction(30000, 1001))])
def test_another_size_or_clock_is_another_format(other: bytes) -> None:
    assert read_track_format(other) != read_track_format(header())


@pytest.mark.parametrize("size", [(64, 64), (66, 130), (720, 1280)])
def test_colours_and_the_muxers_version_are_no_part_of_the_format(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = header(*size)
    monkeypatch.setitem(mp4_fragments.CODEC_OPTIONS, "x264-params", "colorprim=bt709:transfer=bt709:colormatrix=bt709")
    coloured = re.sub(rb"Lavf\d", b"Lavf0", header(*size))
    assert coloured != plain
    assert read_track_format(coloured) == read_track_format(plain)
    assert read_track_format(plain).size == size[1].to_bytes(2, "big") + size[0].to_bytes(2, "big")


def test_another_profile_is_another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = header()
    monkeypatch.setitem(mp4_fragments.CODEC_OPTIONS, "profile", "baseline")
    assert read_track_format(header()) != read_track_format(plain)


@pytest.mark.parametrize("length", [0, 7, 40, 300, 500])
def test_a_header_that_is_cut_is_said_to_be_none(length: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_track_format(header()[:length])
