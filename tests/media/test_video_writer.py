"""Laws of the video file that is written as frames come."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from malt.errors import MaltError, UsageError
from malt.media.frame_scale import choose_scale, fit_to_encoding
from malt.media.video_writer import ENDINGS, VideoSink


def moving_square(num_frames: int, *, height: int = 16, width: int = 16) -> np.ndarray:
    frames = np.full((num_frames, height, width, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        left = index % (width - 4)
        frame[4:8, left : left + 4] = (220, 60, 30)
    return frames


def read_back(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_in_pieces_reads_back_whole(tmp_path: Path, ending: str) -> None:
    frames = moving_square(20)
    with VideoSink(tmp_path / f"video{ending}", frame_rate=16, scale=4) as sink:
        for piece in np.array_split(frames, 3):
            sink.write(piece)
    back = read_back(sink.path)
    assert back.shape == (20, 64, 64, 3)
    assert np.abs(back[:, 2::4, 2::4].astype(int) - frames).mean() < 6
    assert sink.num_frames == 20
    assert sink.seconds == pytest.approx(1.25)


@pytest.mark.parametrize("ending", ENDINGS)
def test_odd_sizes_are_written_too(tmp_path: Path, ending: str) -> None:
    with VideoSink(tmp_path / f"odd{ending}", frame_rate=8) as sink:
        sink.write(moving_square(3, height=17, width=15))
    assert read_back(sink.path).shape[0] == 3


def test_padding_to_even_sizes_repeats_the_edge() -> None:
    frame = moving_square(1, height=3, width=5)[0]
    even = fit_to_encoding(frame, scale=1, even=True)
    assert even.shape == (4, 6, 3)
    assert (even[3, :5] == frame[2]).all()
    assert (fit_to_encoding(frame, scale=3, even=False)[1::3, 1::3] == frame).all()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_killed_run_leaves_a_video_that_lacks_at_most_a_quarter_of_a_second(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"killed{ending}"
    program = (
        "import numpy as np, os, signal, sys; from pathlib import Path; from malt.media.video_writer import VideoSink\n"
        "sink = VideoSink(Path(sys.argv[1]), frame_rate=16)\n"
        "for _ in range(4): sink.write(np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), dtype=np.uint8))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert len(read_back(path)) >= 32 - 4


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"full{ending}"
    path.symlink_to("/dev/full")
    with pytest.raises(MaltError, match="No space left"), VideoSink(path, frame_rate=16, overwrite=True) as sink:
        for _ in range(8):
            sink.write(np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8))


def test_an_existing_file_is_kept_until_the_first_frame_of_one_that_may_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        VideoSink(path, frame_rate=16)
    with VideoSink(path, frame_rate=16, overwrite=True):
        pass
    assert path.read_text() == "precious"
    with VideoSink(path, frame_rate=16, overwrite=True) as sink:
        sink.write(moving_square(2))
    assert len(read_back(path)) == 2


def test_a_run_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "none.mp4", frame_rate=16):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("video.avi", "ending"), ("nowhere/video.mp4", "does not exist"), ("folder.mp4", "is a folder")],
)
def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match=complaint):
        VideoSink(tmp_path / name, frame_rate=16)


@pytest.mark.parametrize("frame_rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_frame_rate_that_is_none_is_refused(tmp_path: Path, frame_rate: float) -> None:
    with pytest.raises(UsageError, match="frames a second"):
        VideoSink(tmp_path / "video.mp4", frame_rate=frame_rate)


def test_frames_of_another_size_are_refused_and_those_before_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one size"), VideoSink(tmp_path / "video.mp4", frame_rate=16) as sink:
        sink.write(moving_square(3))
        sink.write(moving_square(3, width=18))
    assert len(read_back(sink.path)) == 3


PIECES = (8, 5, 8, 3)


def written(path: Path, pieces: tuple[int, ...], frame_rate: float = 16) -> bytes:
    frames = np.split(moving_square(sum(pieces)), np.cumsum(pieces)[:-1])
    with VideoSink(path, frame_rate=frame_rate) as sink:
        for piece in frames:
            sink.write(piece)
    return path.read_bytes()


@pytest.mark.parametrize("frame_rate", [16, 24000 / 1001, 1])
def test_an_mp4_that_is_cut_and_gone_on_with_is_the_one_written_in_one_go(tmp_path: Path, frame_rate: float) -> None:
    whole = written(tmp_path / "whole.mp4", PIECES, frame_rate)
    path, frames = tmp_path / "cut.mp4", moving_square(sum(PIECES))
    written(path, PIECES[:3], frame_rate)
    with path.open("ab") as file:
        file.write(b"half a fragment")
    with VideoSink.go_on(path, 13, frame_rate=frame_rate, scale=1, size=(16, 16)) as sink:
        sink.write(frames[13:21])
        sink.write(frames[21:])
    assert path.read_bytes() == whole
    with av.open(str(path)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert times == pytest.approx([frame / frame_rate for frame in range(24)], abs=1e-6)


def test_an_mp4_is_not_cut_before_it_goes_on(tmp_path: Path) -> None:
    before = written(tmp_path / "video.mp4", PIECES)
    with VideoSink.go_on(tmp_path / "video.mp4", 8, frame_rate=16, scale=1, size=(16, 16)):
        pass
    assert (tmp_path / "video.mp4").read_bytes() == before


@pytest.mark.parametrize(("num_frames", "rate", "size"), [(9, 16, 16), (8, 8, 16), (8, 16, 32)])
def test_an_mp4_that_was_written_otherwise_is_not_gone_on_with(
    tmp_path: Path, num_frames: int, rate: int, size: int
) -> None:
    written(tmp_path / "video.mp4", PIECES)
    with pytest.raises(MaltError, match="is not the video that its session wrote"):
        VideoSink.go_on(tmp_path / "video.mp4", num_frames, frame_rate=rate, scale=1, size=(size, size))


def test_a_cut_mp4_names_the_way_back(tmp_path: Path) -> None:
    written(tmp_path / "video.mp4", PIECES)
    with pytest.raises(MaltError, match=r"is cut at frame 24 of 32; malt rewind .*video.mp4 --to 24 goes back there"):
        VideoSink.go_on(tmp_path / "video.mp4", 32, frame_rate=16, scale=1, size=(16, 16))


def test_an_mp4_of_another_version_of_the_muxer_is_gone_on_with(tmp_path: Path) -> None:
    before = written(tmp_path / "video.mp4", PIECES)
    version = re.search(rb"Lavf[\d.]+", before)
    assert version is not None
    older = before.replace(version[0], b"Lavf58.1." + b"0" * (len(version[0]) - 9))
    assert older != before
    (tmp_path / "video.mp4").write_bytes(older)
    with VideoSink.go_on(tmp_path / "video.mp4", 8, frame_rate=16, scale=1, size=(16, 16)) as sink:
        sink.write(np.zeros((8, 16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert len(list(container.decode(video=0))) == 16


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_file_names_its_colours_so_that_no_player_has_to_guess(tmp_path: Path, ending: str) -> None:
    with VideoSink(tmp_path / f"video{ending}", frame_rate=8) as sink:
        sink.write(np.zeros((2, 16, 16, 3), np.uint8) + np.array([0, 255, 0], np.uint8))
    with av.open(str(sink.path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (Colorspace.ITU601, ColorRange.MPEG)
    assert (frame.color_primaries, frame.color_trc) == (ColorPrimaries.BT709, ColorTrc.IEC61966_2_1)
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - [0, 255, 0]).max() <= 3


@pytest.mark.parametrize("name", ["10:45.webm", "10:45.gif", "10:45.mp4"])
def test_a_relative_name_with_a_colon_is_written_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoSink(Path(name), frame_rate=8) as sink:
        sink.write(np.zeros((2, 16, 16, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pipes_and_names_that_are_too_long_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UsageError, match="is a pipe"):
        VideoSink(tmp_path / "pipe.mp4", frame_rate=8, overwrite=True)
    for length in (251, 300):
        with pytest.raises(UsageError, match="is too long; give one of at most 220"):
            VideoSink(tmp_path / ("a" * (length - 4) + ".mp4"), frame_rate=8)


def test_small_videos_are_enlarged_and_none_beyond_what_players_take() -> None:
    assert [choose_scale(size, None) for size in ((64, 64), (64, 96), (720, 1280), (8, 8))] == [4, 4, 1, 32]
    assert choose_scale((64, 64), 128) == 128
    with pytest.raises(UsageError, match="a scale of 300 makes frames of 19200x19200 .*; give at most 128"):
        choose_scale((64, 64), 300)


def test_an_mp4_whose_colours_are_not_named_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("malt.media.mp4_fragments.name_colours", lambda stream: None)
        written(tmp_path / "video.mp4", PIECES)
    with VideoSink.go_on(tmp_path / "video.mp4", 8, frame_rate=16, scale=1, size=(16, 16)) as sink:
        sink.write(np.zeros((8, 16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert len(list(container.decode(video=0))) == 16


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_an_enlarged_video_is_at_least_as_near_to_its_pictures_as_one_of_enlarged_pictures(
    tmp_path: Path, scale: int
) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (6, 5, 7, 3), dtype=np.uint8)
    pictures = colours.repeat(4, axis=1).repeat(4, axis=2)  # flat areas, as what is between them is lost to any encoder
    larger = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    with VideoSink(tmp_path / "one.mp4", frame_rate=8, scale=scale) as sink:
        sink.write(pictures)
    with VideoSink(tmp_path / "other.mp4", frame_rate=8) as sink:
        sink.write(larger)
    one, other = (np.abs(read_back(tmp_path / name).astype(int) - larger).mean() for name in ("one.mp4", "other.mp4"))
    assert one <= other and (scale % 2 or one < 2)
