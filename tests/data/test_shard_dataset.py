"""Laws of the corpus: windows of encoded videos, drawn by step number alone."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from malt.data.codec_fingerprint import CodecIdentity
from malt.data.shard_dataset import ShardDataset
from malt.data.shard_writer import shard_writer
from malt.errors import UsageError

CODEC, OTHER = CodecIdentity("AutoencoderMalt", "a" * 64), CodecIdentity("AutoencoderTiny", "b" * 64)
LENGTHS = (3, 8, 12)
Open = Callable[..., ShardDataset]


def write(
    folder: Path,
    lengths: tuple[int, ...] = LENGTHS,
    *,
    stretch: int = 5,
    codec: CodecIdentity = CODEC,
    side: int = 2,
    actions: tuple[str, ...] = ("steer",),
    shard_bytes: int = 9000,
) -> Path:
    """Shards in which frame n of video v is v * 100 + n + 1 everywhere, and so is what was done in it."""
    with shard_writer(folder, 0, shard_bytes) as writer:
        for video, length in enumerate(lengths):
            numbers = 100.0 * video + torch.arange(1, length + 1)
            for first in range(0, length, stretch):
                part = numbers[first : first + stretch]
                tensors = {"latents": part.half()[:, None, None, None].expand(-1, 3, side, side)}
                if actions:
                    tensors["actions"] = part[:, None].repeat(1, 4 * len(actions))
                info = {
                    "film": f"{video}.mp4",
                    "caption": f"video {video}" if video else "",
                    "first_latent": first,
                    "frame_rate": 16.0,
                    "codec": codec._asdict(),
                    "size": [8 * side, 8 * side],
                    "fps": None,
                    "actions": [*actions],
                }
                writer.add(f"{video}.mp4", tensors, info, None)
            writer.finish(f"{video}.mp4")
        writer.close()
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> ShardDataset:
    return ShardDataset.open(write(tmp_path / "shards"), CODEC, log=lambda _: None)


def numbers(window: Tensor) -> list[int]:
    assert torch.equal(window, window[:, :1, :1, :1].expand_as(window))
    return window[:, 0, 0, 0].int().tolist()


def test_a_corpus_knows_what_it_holds(corpus: ShardDataset) -> None:
    assert corpus.lengths == list(LENGTHS)
    assert corpus.latent_size == (3, 2, 2)
    assert (corpus.action_names, corpus.action_size) == (("steer",), 4)
    assert corpus.frame_rate == 16.0
    assert corpus.captions == ["", "video 1", "video 2"]
    assert corpus.codec == CODEC


def test_a_step_always_draws_the_same_and_another_another(corpus: ShardDataset, tmp_path: Path) -> None:
    batch, again = (
        corpus(7, 16, 4, 1, 0.5),
        ShardDataset.open(tmp_path / "shards", log=lambda _: None)(7, 16, 4, 1, 0.5),
    )
    assert torch.equal(batch.latents, again.latents)
    assert batch.captions == again.captions
    assert torch.equal(batch.begins, again.begins)
    assert not torch.equal(batch.latents, corpus(8, 16, 4, 1, 0.5).latents)
    reseeded = ShardDataset.open(tmp_path / "shards", seed=1, log=lambda _: None)
    assert not torch.equal(batch.latents, reseeded(7, 16, 4, 1, 0.5).latents)


def test_windows_are_frames_of_one_video_in_their_order_across_its_stretches(corpus: ShardDataset) -> None:
    batch = corpus(0, 300, 4, 2, 0.0)
    assert batch.latents.shape == (300, 6, 3, 2, 2)
    assert batch.latents.dtype == torch.float32
    assert not batch.begins.any()
    windows = [numbers(window) for window in batch.latents]
    assert all(b == a + 1 for window in windows for a, b in pairwise(window))
    assert {window[0] for window in windows} == {*range(101, 104), *range(201, 208)}
    assert batch.captions == [f"video {window[0] // 100}" for window in windows]
    assert batch.actions is not None
    assert batch.actions.shape == (300, 6, 4)
    assert [action[:, 0].int().tolist() for action in batch.actions] == windows


def test_far_frames_are_from_any_time_before_the_rest(corpus: ShardDataset) -> None:
    batch = corpus(0, 300, 3, 1, 0.0, 1)
    windows = [numbers(window) for window in batch.latents]
    assert all(b == a + 1 for window in windows for part in (window[:2], window[2:]) for a, b in pairwise(part))
    assert {window[2] - window[0] for window in windows} > {2, 3, 4}
    assert batch.actions is not None
    assert [action[:, 0].int().tolist() for action in batch.actions] == windows


def test_a_window_that_begins_a_video_begins_at_its_true_start_with_nothing_before(corpus: ShardDataset) -> None:
    batch = corpus(0, 64, 8, 2, 1.0)
    assert batch.begins.all()
    windows = [numbers(window) for window in batch.latents]
    assert all(window[:2] == [0, 0] for window in windows)
    assert {tuple(window[2:]) for window in windows} == {tuple(range(101, 109)), tuple(range(201, 209))}
    assert batch.actions is not None and not batch.actions[:, :2].any()


def test_as_many_windows_begin_a_video_as_are_asked_for(corpus: ShardDataset) -> None:
    assert corpus(0, 400, 4, 1, 0.25).begins.float().mean().item() == pytest.approx(0.25, abs=0.07)


def test_videos_that_are_too_short_are_left_out_and_told_of_once(tmp_path: Path) -> None:
    told: list[str] = []
    corpus = ShardDataset.open(write(tmp_path), log=told.append)
    for step in range(3):
        corpus(step, 2, 4, 1, 0.5)
    assert told == ["1 of 3 videos are shorter than a window of 5 latent frames: left out"]
    with pytest.raises(ValueError, match="the longest video has 12 latent frames and 13 are needed; encode longer"):
        corpus(0, 2, 12, 1, 0.5)


def test_held_out_videos_are_not_learned_from(corpus: ShardDataset) -> None:
    learned, held_out = corpus.split(every=3)
    assert [video.name for video in held_out.videos] == ["2.mp4"]
    assert [video.name for video in learned.videos] == ["0.mp4", "1.mp4"]
    with pytest.raises(UsageError, match="none can be held out"):
        held_out.split()


def test_shards_of_another_codec_are_refused_with_both_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="encoded by AutoencoderTiny bbbbbbbbbbbb .* for AutoencoderMalt aaaaaaaaaaaa"):
        ShardDataset.open(write(tmp_path, codec=OTHER), CODEC)


def test_mixed_sizes_codecs_and_actions_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "first")
    for name, settings, words in (
        ("size", {"side": 4}, "32x32 and of 16x16 are mixed"),
        ("codec", {"codec": OTHER}, "AutoencoderTiny"),
        ("actions", {"actions": ()}, "are mixed; choose one"),
    ):
        with pytest.raises(UsageError, match=words):
            ShardDataset.open([first, write(tmp_path / name, **settings)])
    assert ShardDataset.open([first, write(tmp_path / "more")]).lengths == [*LENGTHS, *LENGTHS]


def test_a_damaged_shard_is_named_and_refused_or_left_out(tmp_path: Path) -> None:
    shard = sorted(write(tmp_path, shard_bytes=3000).glob("*.tar"))[0]
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UsageError, match=r"shard-00000-000000\.tar is damaged .*; delete it and run malt encode again"):
        ShardDataset.open(tmp_path)
    told: list[str] = []
    left = ShardDataset.open(tmp_path, skip_damaged=True, log=told.append)
    assert 0 < len(left.videos) < 3
    assert "shard-00000-000000.tar is damaged" in told[0]
    shard.unlink()
    with pytest.raises(UsageError, match="is missing"):
        ShardDataset.open(tmp_path)


def test_a_folder_without_shards_and_a_damaged_index_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no shards"):
        ShardDataset.open(tmp_path)
    [index] = write(tmp_path).glob("index-*.json")
    videos = json.loads(index.read_text())
    index.write_text(json.dumps({**videos, "films": {}}))
    with pytest.raises(UsageError, match="holds no encoded videos"):
        ShardDataset.open(tmp_path)
    index.write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        ShardDataset.open(tmp_path)


def test_learning_never_changes_the_shards(corpus: ShardDataset, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.tar")}
    corpus(0, 4, 4, 1, 0.5).latents.zero_()
    corpus.videos[1].stretches[0].zero_()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.tar")} == before
