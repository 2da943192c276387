"""Laws of the way between files and models."""

import numpy as np
import torch

from malt.media.pixels import to_pixels, to_tensor


def test_every_level_survives_the_way_there_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.min() == -1
    assert tensor.max() == 1
    assert (to_pixels(tensor) == pixels).all()


def test_what_lies_outside_the_range_is_cut_off_not_wrapped_around() -> None:
    assert to_pixels(torch.full((1, 3, 1, 1), 1.5)).max() == 255
    assert to_pixels(torch.full((1, 3, 1, 1), -1.5)).max() == 0
