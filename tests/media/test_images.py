"""Laws of pictures: upright, opaque, in eight bits, cut to size and never stretched."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from malt.errors import UsageError
from malt.media.images import fit, read_image


def test_a_picture_is_cropped_to_its_middle_without_being_stretched(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = read_image(tmp_path / "wide.png", (4, 4))
    assert picture.shape == (4, 4, 3)
    assert (picture == 200).all()


def test_a_picture_with_transparency_or_a_palette_becomes_plain_colour(tmp_path: Path) -> None:
    for mode in ("RGBA", "P", "L", "LA"):
        Image.new(mode, (6, 6)).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png", (3, 3)).shape == (3, 3, 3)


@pytest.mark.parametrize("content", [b"", b"only words", b"\x89PNG\r\n\x1a\n" + b"\x00" * 30])
def test_what_is_no_picture_is_said_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(UsageError, match="is not a picture that can be read"):
        read_image(tmp_path / "picture.png")


def test_a_picture_cut_short_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1000])
    with pytest.raises(UsageError):
        read_image(tmp_path / "cut.png")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_image(tmp_path / "nothing.png")


def test_a_picture_of_sixteen_bits_keeps_its_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    picture = read_image(tmp_path / "ramp.png")
    assert (np.abs(picture[0].astype(int) - (ramp[0] / 257)[:, None]) <= 0.5).all()


@pytest.mark.parametrize(("levels", "kind"), [([0, 255], np.int32), ([0, 65535], np.int32), ([0.0, 1.0], np.float32)])
def test_wide_numbers_are_as_bright_as_they_mean(tmp_path: Path, levels: list[float], kind: type) -> None:
    Image.fromarray(np.array([levels], kind)).save(tmp_path / "wide.tif")
    assert read_image(tmp_path / "wide.tif")[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_and_shows_no_hidden_colour(tmp_path: Path, mode: str) -> None:
    hidden = Image.new("RGBA", (8, 4), (200, 0, 0, 255))
    hidden.paste((0, 200, 0, 0), (0, 0, 4, 4))
    hidden.convert(mode).save(tmp_path / "picture.png")
    picture = read_image(tmp_path / "picture.png")
    assert (picture[:, :4] == 255).all()
    assert not (picture[:, 4:] == 255).all()


def test_pixels_that_are_not_square_become_so() -> None:
    circle = np.zeros((16, 8, 3), np.uint8)
    circle[4:12, 2:6] = 255
    shown = fit(Image.fromarray(circle), None, 2.0)
    assert shown.shape == (16, 16, 3)
    assert abs(int((shown[8, :, 0] > 127).sum()) - int((shown[:, 8, 0] > 127).sum())) <= 1
    assert fit(Image.fromarray(circle), (8, 8), 2.0).shape == (8, 8, 3)
    assert fit(Image.fromarray(circle), None, 0.5).shape == (32, 8, 3)
