"""Laws of deflated states: the very same tensors come back, in fewer bytes, and nothing larger than was said."""

import zlib

import pytest
import torch

from malt.sessions.deflating import MARK, deflate, inflate
from malt.sessions.packing import head_of, pack, unpack

MOST = 2**20
DRAW = torch.Generator().manual_seed(0)
NUMBERS = torch.randn(1, 64, 32, generator=DRAW)
TENSORS = {
    "half": (2 * NUMBERS).round().half() / 2,
    "bfloat": NUMBERS.bfloat16(),
    "single": NUMBERS,
    "whole": torch.arange(7),
    "marks": torch.tensor([True, False, True]),
    "nothing": torch.empty(1, 0, 4),
}


def test_what_is_deflated_comes_back_to_the_bit() -> None:
    packed = pack(TENSORS, "text")
    assert inflate(deflate(packed), MOST) == packed
    tensors, text = unpack(inflate(deflate(packed), MOST), "it")
    assert text == "text" and all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_the_same_tensors_are_always_the_same_bytes() -> None:
    assert deflate(pack(TENSORS, "text")) == deflate(pack(dict(reversed(TENSORS.items())), "text"))


def test_rounded_numbers_take_about_the_bits_that_tell_them_apart() -> None:
    packed = pack({"tokens": TENSORS["half"].repeat(1, 1, 8)}, "")
    assert len(deflate(packed)) < 0.3 * len(packed)


def test_a_text_alone_comes_back() -> None:
    assert inflate(deflate(pack({}, "text")), MOST) == pack({}, "text")


def test_what_was_never_deflated_stays_as_it_is() -> None:
    assert inflate(pack(TENSORS, "text"), 0) == pack(TENSORS, "text")


def test_nothing_unfolds_to_more_than_is_allowed() -> None:
    huge = deflate(pack({"tokens": torch.zeros(2**20)}, ""))
    assert len(huge) < 2**15
    with pytest.raises(ValueError, match="and 1048576 are the most"):
        inflate(huge, MOST)


def test_tensors_that_overlap_are_refused() -> None:
    packed = pack({"a": torch.zeros(4), "b": torch.zeros(4)}, "")
    twice = packed.replace(b'"data_offsets": [16, 32]', b'"data_offsets": [0,  16]')
    with pytest.raises(ValueError, match="one behind the other"):
        inflate(deflate(twice), MOST)


def test_a_stream_that_ends_early_or_goes_on_is_refused() -> None:
    packed = pack(TENSORS, "text")
    _, begin = head_of(packed)
    raw = zlib.compressobj(wbits=-15)
    longer = MARK + packed[:begin] + raw.compress(packed[begin:] + b"more") + raw.flush()
    for damaged in (deflate(packed)[:-40], longer):
        with pytest.raises(ValueError, match="it says that it holds"):
            inflate(damaged, MOST)
