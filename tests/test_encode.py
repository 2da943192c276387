"""Laws of `malt encode`, through the command line."""

from pathlib import Path

import pytest
from diffusers import AutoencoderTiny

import tiny_pipeline
from malt.cli import main
from malt.data.codec_fingerprint import identify
from malt.data.shard_dataset import ShardDataset
from malt.data.shard_writer import shard_writer
from tiny_videos import write_actions, write_video


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of videos, and beside it an autoencoder."""
    monkeypatch.chdir(tmp_path)
    tiny_pipeline.autoencoder().save_pretrained("codec")
    for name in ("a", "b"):
        write_actions(write_video(Path("videos") / f"{name}.mp4", 16), 16)
    Path("videos/a.txt").write_text("a red car")
    return tmp_path


def encode(*options: str) -> int:
    return main(["encode", "videos", "--out", "shards", "--codec", "codec", "--device", "cpu", *options])


def test_a_folder_of_videos_becomes_a_corpus(folder: Path) -> None:
    assert encode() == 0
    corpus = ShardDataset.open(folder / "shards", identify(tiny_pipeline.autoencoder()))
    assert corpus.lengths == [4, 4]
    assert corpus.latent_size == (3, 4, 4)
    assert corpus.captions == ["a red car", ""]
    assert corpus.action_names == ("steering", "throttle")
    assert corpus.frame_rate == 8.0
    assert encode() == 0


def test_captions_that_change_after_encoding_are_noticed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode() == encode() == 0
    assert "other captions" not in capsys.readouterr().out
    Path("videos/a.txt").write_text("a blue car")
    assert encode() == 0
    assert "the captions of 1 video have changed since they were encoded (such as of a.mp4)" in capsys.readouterr().out


def test_size_rate_captions_and_actions_may_be_chosen(folder: Path) -> None:
    Path("words.csv").write_text("file,caption\nb.mp4,blue\n")
    options = "--height 16 --width 24 --fps 4 --captions words.csv --ignore-actions --stretch 1 --batch 4"
    assert encode(*options.split()) == 0
    corpus = ShardDataset.open(folder / "shards")
    assert corpus.latent_size == (3, 2, 3)
    assert corpus.lengths == [2, 2]
    assert corpus.captions == ["a red car", "blue"]
    assert (corpus.action_size, corpus.frame_rate) == (0, 4.0)


def test_a_broken_video_is_named_and_the_exit_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("videos/c.mp4").write_bytes(b"only words")
    write_actions(Path("videos/c.mp4"), 3)
    assert encode() == 1
    assert "skipped 1 broken videos, all others are encoded: videos/c.mp4 is not a video" in capsys.readouterr().err
    assert len(ShardDataset.open(folder / "shards").videos) == 2


def test_ranks_share_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encode("--rank", "0", "--world-size", "2") == 0
    assert len(ShardDataset.open(folder / "shards").videos) == 1
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert encode() == 0
    assert [video.name for video in ShardDataset.open(folder / "shards").videos] == ["a.mp4", "b.mp4"]


def test_a_codec_of_diffusers_serves_as_well(folder: Path) -> None:
    widths = {"encoder_block_out_channels": (4, 4), "decoder_block_out_channels": (4, 4)}
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    AutoencoderTiny(latent_channels=4, **widths, **blocks).save_pretrained("tiny")
    assert main(["encode", "videos", "--out", "out", "--codec", "tiny", "--height", "16", "--width", "16"]) == 0
    corpus = ShardDataset.open(folder / "out")
    assert (corpus.lengths, corpus.latent_size, corpus.action_size) == ([16, 16], (4, 8, 8), 2)
    assert corpus.codec.name == "AutoencoderTiny"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--height", "20"], "give sides that are multiples of 8"),
        (["--fps", "0"], "give a number above 0"),
        (["--fps", "1e9"], "give at most 1000 frames a second"),
        (["--stretch", "0"], "give at least 1"),
        (["--rank", "2", "--world-size", "2"], "there is no rank 2 among 2"),
        (["--captions", "none.csv"], "there is no file none.csv of captions"),
        (["--codec", "videos"], "holds no autoencoder"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_begun(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert encode(*options) in (1, 2)
    assert words in capsys.readouterr().err
    assert not (folder / "shards").exists()


def test_folders_that_hold_no_videos_or_none_that_can_be_read_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert main(["encode", "empty", "--out", "shards"]) == 2
    assert "holds no videos" in capsys.readouterr().err
    for name in ("a", "b"):
        Path(f"videos/{name}.mp4").write_bytes(b"only words")
    assert encode() == 2
    assert "none of 2 videos can be used" in capsys.readouterr().err


def test_a_folder_of_other_shards_or_at_work_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode() == 0
    assert encode("--height", "16") == 2
    assert "were made with another size" in capsys.readouterr().err
    tiny_pipeline.autoencoder(latent_mean=(1.0, 0.0, 0.0)).save_pretrained("codec")
    assert encode() == 2
    assert "were made with another codec" in capsys.readouterr().err
    assert main(["encode", "videos", "--out", "videos/a.mp4/shards", "--codec", "codec"]) == 2
    assert "the folder videos/a.mp4/shards cannot be made (Not a directory)" in capsys.readouterr().err
    with shard_writer(folder / "shards", 0):
        assert encode() == 2
    assert "another process encodes into shards as rank 0" in capsys.readouterr().err
