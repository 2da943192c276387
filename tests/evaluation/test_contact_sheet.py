"""Laws of the contact sheet and of the verb that writes one of the world."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from malt.cli import main
from malt.evaluation.report.contact_sheet import contact_sheet, sampled_frames
from malt.worlds.base import Sighting

GREY = torch.zeros(2, 20, 3, 64, 64)


def test_frames_are_sampled_evenly_from_the_first_to_the_last() -> None:
    assert sampled_frames(160, 4) == [0, 53, 106, 159]
    assert sampled_frames(3, 8) == [0, 1, 2]
    assert sampled_frames(1, 8) == [0]


def test_a_sheet_has_room_for_every_video_and_every_column() -> None:
    small, wide = contact_sheet(GREY, columns=3, scale=1), contact_sheet(GREY, columns=6, scale=1)
    tall = contact_sheet(GREY.repeat(2, 1, 1, 1, 1), columns=3, scale=1)
    assert wide.width > 6 * 64 > small.width > 3 * 64
    assert tall.height > 4 * 64 > small.height > 2 * 64


def test_every_pixel_of_a_shown_frame_is_on_the_sheet() -> None:
    videos = torch.full((1, 1, 3, 64, 64), -1.0)
    videos[:, :, 0] = 1.0
    pixels = np.asarray(contact_sheet(videos, scale=2))
    assert (pixels == (255, 0, 0)).all(-1).sum() == 128 * 128


def test_a_long_caption_is_never_cut_off() -> None:
    captions = ["a small yellow triangle and a big pink circle pass behind a wooden wall in the desert", "two shapes"]
    sheet = contact_sheet(GREY, captions, columns=1, scale=1)
    assert sheet.width > 500
    assert sheet.height > contact_sheet(GREY, columns=1, scale=1).height


def test_readings_are_written_on_the_frame_they_are_of() -> None:
    none: list[list[Sighting]] = [[] for _ in range(20)]
    last = [*none[:-1], [Sighting("red circle", 0.5, 0.38)]]
    plain, written = (np.asarray(contact_sheet(GREY, columns=2, readings=r)) for r in ([none, none], [none, last]))
    rows, columns = np.nonzero((plain != written).any(-1))
    assert rows.min() > plain.shape[0] / 2
    assert columns.min() > plain.shape[1] / 2


def test_a_caption_too_few_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="1 caption for 2 videos"):
        contact_sheet(GREY, ["two shapes"])


def test_the_verb_writes_a_sheet_of_the_world(tmp_path: Path) -> None:
    options = ["--scenes", "2", "--frames", "4", "--columns", "2", "--seed", "1"]
    assert main(["world", "--out", str(tmp_path / "plain.png"), *options]) == 0
    assert main(["world", "--out", str(tmp_path / "read.png"), *options, "--oracle"]) == 0
    plain, read = (Image.open(tmp_path / name) for name in ("plain.png", "read.png"))
    assert plain.size == read.size
    assert plain.width > 2 * 2 * 64


@pytest.mark.parametrize("options", [["--scenes", "0"], ["--frames", "-1"], ["--out", "sheet.txt"], ["--seed", "-1"]])
def test_the_verb_refuses_what_cannot_be_done(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["world", "--out", str(tmp_path / "sheet.png"), *options]) == 2
    assert "malt: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
