"""Laws of the first image and the first video."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from malt.errors import UsageError
from malt.media.first_frames import read_image, read_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    from malt.media.video_writer import VideoSink

    frames = np.zeros((16, 12, 16, 3), np.uint8)
    frames[:] = (np.arange(16) * 15)[:, None, None, None]
    with VideoSink(tmp_path / "video.mp4", frame_rate=16, scale=4) as sink:
        sink.write(frames)
    return sink.path


def test_a_video_written_larger_reads_back_as_it_was(video: Path) -> None:
    frames = np.stack(list(read_video(video, (12, 16))))
    assert frames.shape == (16, 12, 16, 3)
    assert np.abs(frames[:, 0, 0, 0].astype(int) - np.arange(16) * 15).max() <= 3


def test_another_rate_takes_the_frames_shown_at_its_instants(video: Path) -> None:
    half = [int(frame.mean() / 15 + 0.5) for frame in read_video(video, fps=8)]
    double = [int(frame.mean() / 15 + 0.5) for frame in read_video(video, fps=32)]
    assert half == list(range(0, 16, 2))
    assert double[:5] == [0, 1, 1, 2, 2]


def test_no_more_frames_are_read_than_asked_for(video: Path) -> None:
    assert len(list(read_video(video, max_frames=3))) == 3


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


@pytest.mark.parametrize("content", [b"", b"only words", b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64])
def test_what_is_no_video_is_said_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "video.mp4").write_bytes(content)
    with pytest.raises(UsageError, match="is not a video that can be read"):
        next(read_video(tmp_path / "video.mp4"))


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
    with pytest.raises(UsageError, match="there is no file"):
        next(read_video(tmp_path / "nothing.mp4"))
