"""Laws of reading videos: every kind of file is the same frames through every door, and they are what a player shows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

import tiny_media
from malt.codecs.registry import codec_of
from malt.commands.given_frames import count_given, given_video
from malt.data.decoded_frames import decode_videos
from malt.data.video_folder import VideoFile
from malt.errors import UsageError
from malt.media.video_reader import count_frames, look_at, read_video
from malt.media.video_track import BrokenVideoError
from malt.serving.limits import Limits
from malt.serving.uploads import Wanted, read_upload
from tiny_media import HALVES, RATE, SIZE

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
KINDS: dict[str, tuple[Callable[[Path], Path], tuple[tuple[int, int, int], ...]]] = {
    "plain": (tiny_media.plain, HALVES),
    "rotated": (tiny_media.rotated, HALVES),
    "long pixels": (tiny_media.long_pixels, HALVES),
    "held": (tiny_media.held, HALVES),
    "covered": (tiny_media.covered, HALVES),
    "ten bits": (tiny_media.ten_bits, HALVES),
    "transparent": (tiny_media.transparent, (HALVES[0], WHITE)),
    "high range": (tiny_media.high_range, (WHITE, BLACK)),
    "gif": (partial(tiny_media.animated, ending=".gif"), HALVES),
    "webp": (partial(tiny_media.animated, ending=".webp"), HALVES),
    "m4v": (partial(tiny_media.of_ending, ending=".m4v", codec="libx264"), HALVES),
    "ts": (partial(tiny_media.of_ending, ending=".ts", codec="libx264"), HALVES),
    "mpg": (partial(tiny_media.of_ending, ending=".mpg", codec="mpeg1video"), HALVES),
    "wmv": (partial(tiny_media.of_ending, ending=".wmv", codec="wmv2"), HALVES),
    "avi": (partial(tiny_media.of_ending, ending=".avi", codec="mpeg4"), HALVES),
}

# To set up the conversion from a high range takes FFmpeg seconds.
EACH_KIND = [pytest.param(kind, marks=pytest.mark.slow) if kind == "high range" else kind for kind in KINDS]


def by_reader(path: Path, fps: float) -> np.ndarray:
    return np.concatenate([batch.pixels for batch in read_video(path, SIZE, fps=fps, batch=3)])


def by_training(path: Path, fps: float) -> np.ndarray:
    [frames] = decode_videos([VideoFile(path, path.name)], SIZE, fps=fps).values()
    return frames


def by_generate(path: Path, fps: float) -> np.ndarray:
    codec = codec_of(
        AutoencoderTiny(
            encoder_block_out_channels=(4,),
            decoder_block_out_channels=(4,),
            num_encoder_blocks=(1,),
            num_decoder_blocks=(1,),
        )
    )
    network = SimpleNamespace(segment_frames=3)
    pipe = SimpleNamespace(codec=codec, transformer=network, frame_rate=fps, frame_size=SIZE, action_names=())
    pieces = [frames for frames, _ in given_video(pipe, path, count_given(pipe, path), pipe.frame_size)]
    return ((torch.cat(pieces) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def by_upload(path: Path, fps: float) -> np.ndarray:
    with path.open("rb") as file:
        return read_upload(file, Wanted(SIZE, fps, 1, 1000), Limits())


DOORS = [by_training, by_generate, by_upload]


@pytest.mark.parametrize("kind", EACH_KIND)
def test_every_door_shows_the_same_frames_at_every_rate(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind][0](tmp_path)
    for fps in (RATE, RATE * 8 / 15):
        expected = by_reader(path, fps)
        assert count_frames(path, fps) == len(expected)
        for door in DOORS:
            assert np.array_equal(door(path, fps), expected), door.__name__


@pytest.mark.parametrize("kind", EACH_KIND)
def test_every_kind_looks_as_a_player_shows_it(tmp_path: Path, kind: str) -> None:
    make, (left, right) = KINDS[kind]
    path = make(tmp_path)
    frames = by_reader(path, 25 if kind == "mpg" else RATE)
    assert len(frames) in (8, 7)  # of a file that does not say how long its last frame is held
    slack = 30 if kind in ("gif", "mpg", "wmv", "avi") else 14
    assert np.abs(frames[0, 8:-8, 4:20].astype(int) - left).max() <= slack
    assert np.abs(frames[0, 8:-8, -20:-4].astype(int) - right).max() <= slack
    whole = next(read_video(path)).pixels
    assert whole.shape[1:] == (*SIZE, 3)


def test_a_frame_is_shown_from_its_time_until_the_next_ones(tmp_path: Path) -> None:
    path = tiny_media.held(tmp_path)
    sources = np.concatenate([batch.sources for batch in read_video(path, fps=2 * RATE)])
    assert sources[:12].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_from_thirty_to_sixteen_frames_a_second_what_is_shown_at_each_instant_is_taken(tmp_path: Path) -> None:
    path = tiny_media.plain(tmp_path)  # 8 a second stand for 30, and 64 / 15 for 16
    sources = [int(source) for batch in read_video(path, fps=RATE * 16 / 30) for source in batch.sources]
    assert sources == [0, 1, 3, 5, 7]


def test_a_file_without_time_stamps_is_shown_at_its_rate(tmp_path: Path) -> None:
    path = tiny_media.untimed(tmp_path)
    rate = look_at(path).rate
    assert rate is not None
    assert len(by_reader(path, rate)) == 8
    assert np.array_equal(by_training(path, rate), by_generate(path, rate))


def test_a_relative_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_media.plain(tmp_path).rename("12:30.mp4")
    assert len(by_reader(Path("12:30.mp4"), RATE)) == 8
    assert look_at(Path("12:30.mp4")).num_frames == 8


@pytest.mark.parametrize("content", [b"", b"only words", b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64])
def test_what_is_no_video_is_said_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "video.mp4").write_bytes(content)
    with pytest.raises(BrokenVideoError, match="is not a video that can be read"):
        next(read_video(tmp_path / "video.mp4"))
    with pytest.raises(UsageError, match="there is no file"):
        next(read_video(tmp_path / "nothing.mp4"))


def test_frames_that_change_their_size_all_get_that_of_the_first(tmp_path: Path) -> None:
    small = tiny_media.write(tmp_path / "a.ts", [tiny_media.picture(0)] * 4)
    large = tiny_media.write(tmp_path / "b.ts", [tiny_media.picture(0, (64, 96))] * 4)
    small.write_bytes(small.read_bytes() + large.read_bytes())
    assert next(read_video(small)).pixels.shape == (8, *SIZE, 3)
