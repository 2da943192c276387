"""Laws of encoding videos into shards: nothing is lost, nothing is made twice, and no seam is seen."""

import json
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

import tiny_pipeline
from malt.codecs.malt import MaltCodec
from malt.data.codec_fingerprint import identify
from malt.data.encoding import EncodingConfig, EncodingProgress, encode_videos
from malt.data.shard_writer import adopt, check_encoding, finished_videos, shard_writer
from malt.data.video_folder import find_videos, shared_actions
from malt.errors import UsageError
from malt.media.files import file_sha256
from malt.media.video_reader import read_video
from tiny_videos import write_actions, write_video

SIZE = (16, 16)


class CountingCodec(MaltCodec):
    """Knows how many frames it has encoded."""

    def __init__(self) -> None:
        super().__init__(tiny_pipeline.autoencoder(latent_mean=(0.1, -0.2, 0.3), latent_std=(0.5, 2.0, 1.0)))
        self.num_frames = 0

    def encode(self, frames: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        self.num_frames += frames.shape[1]
        return super().encode(frames, cache)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name, length in (("a", 22), ("b", 50), ("c", 9)):
        write_actions(write_video(tmp_path / f"videos/{name}.mp4", length, start=len(name)), length)
    return tmp_path / "videos"


def encode(
    videos: Path,
    out: Path,
    *,
    codec: CountingCodec | None = None,
    stop_after: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    shard_bytes: int = 10_000,
    **settings: Any,
) -> list[EncodingProgress]:
    """Encode; `stop_after` breaks off, as a kill does, after so many events."""
    codec, found = codec or CountingCodec(), find_videos(videos)
    encoding = EncodingConfig(codec=identify(codec.autoencoder), size=SIZE, action_names=shared_actions(found))
    with shard_writer(out, rank, shard_bytes) as writer:
        done = finished_videos(out)
        share = [video for video in found[rank::world_size] if video.name not in done]
        sizes = {"piece": 2, "stretch": 4} | settings
        events = list(islice(encode_videos(share, codec, encoding, writer, **sizes), stop_after))
        if stop_after is None:
            writer.close()
    return events


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.tar"))}


def latents(out: Path, video: str, name: str = "latents") -> Tensor:
    """All of a video, read as any reader of tar files would."""
    found = []
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for key, content in members.items():
            if key.endswith(".json") and json.loads(content)["film"] == video:
                found.append((json.loads(content)["first_latent"], load(members[key[:-5] + ".safetensors"])[name]))
    return torch.cat([tensor for _, tensor in sorted(found, key=lambda pair: pair[0])])


def test_a_video_cut_into_pieces_and_stretches_is_the_video_encoded_whole(videos: Path, tmp_path: Path) -> None:
    codec = CountingCodec()
    encode(videos, tmp_path / "out", codec=codec)
    assert codec.num_frames == 20 + 48 + 8
    frames = next(read_video(videos / "b.mp4", SIZE, batch=48)).pixels
    whole, _ = codec.encode(torch.from_numpy(frames).permute(0, 3, 1, 2)[None] / 127.5 - 1)
    found = latents(tmp_path / "out", "b.mp4")
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), whole[0], rtol=0, atol=0.1)


def test_the_actions_of_a_latent_frame_are_those_of_its_frames_side_by_side(videos: Path, tmp_path: Path) -> None:
    encode(videos, tmp_path / "out")
    found = latents(tmp_path / "out", "c.mp4", "actions")
    assert found.tolist() == [[0, 0, 1, -1, 2, -2, 3, -3], [4, -4, 5, -5, 6, -6, 7, -7]]


@pytest.mark.parametrize("stop_after", [1, 2, 5, 7, 9])
def test_a_run_that_was_killed_goes_on_to_the_same_shards_and_makes_nothing_twice(
    videos: Path, tmp_path: Path, stop_after: int
) -> None:
    codec = CountingCodec()
    encode(videos, tmp_path / "whole")
    encode(videos, tmp_path / "killed", codec=codec, stop_after=stop_after)
    encode(videos, tmp_path / "killed", codec=codec)
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    in_hand = 4 * 4  # frames of a stretch
    assert codec.num_frames <= 76 + in_hand
    assert not list((tmp_path / "killed").glob("*.part")) + list((tmp_path / "killed").glob("cache-*"))


def test_a_kill_in_the_middle_of_writing_loses_nothing(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    encode(videos, tmp_path / "whole")
    encode(videos, out, stop_after=8)
    ledger, [part] = out / "ledger-00000.jsonl", out.glob("*.part")
    ledger.write_bytes(ledger.read_bytes() + b'{"event": "sam')
    part.write_bytes(part.read_bytes() + b"half a sample")
    encode(videos, out)
    assert shards(out) == shards(tmp_path / "whole")


def test_a_finished_run_does_nothing_more(videos: Path, tmp_path: Path) -> None:
    encode(videos, tmp_path / "out")
    before, codec = shards(tmp_path / "out"), CountingCodec()
    assert encode(videos, tmp_path / "out", codec=codec) == []
    assert (codec.num_frames, shards(tmp_path / "out")) == (0, before)


def test_shards_stand_in_the_index_with_their_checksums(videos: Path, tmp_path: Path) -> None:
    encode(videos, tmp_path / "out")
    index = json.loads((tmp_path / "out/index-00000.json").read_text())
    assert {name: file_sha256(tmp_path / "out" / name) for name in shards(tmp_path / "out")} == index["shards"]
    assert len(index["shards"]) > 1
    assert {video: len(keys) for video, keys in index["films"].items()} == {"a.mp4": 2, "b.mp4": 3, "c.mp4": 1}


def test_a_shard_that_is_deleted_is_made_anew(videos: Path, tmp_path: Path) -> None:
    out, codec = tmp_path / "out", CountingCodec()
    encode(videos, out)
    (out / "shard-00000-000000.tar").unlink()
    encode(videos, out, codec=codec)
    assert 0 < codec.num_frames < 76
    assert set(json.loads((out / "index-00000.json").read_text())["films"]) == {"a.mp4", "b.mp4", "c.mp4"}


def test_a_damaged_ledger_is_named_and_without_it_all_is_made_anew(videos: Path, tmp_path: Path) -> None:
    encode(videos, tmp_path / "out")
    before, ledger = shards(tmp_path / "out"), tmp_path / "out" / "ledger-00000.jsonl"
    ledger.write_bytes(b"[]\n" + ledger.read_bytes())
    with pytest.raises(
        UsageError, match=r"ledger-00000.jsonl is damaged in line 1; delete it and run malt encode again"
    ):
        encode(videos, tmp_path / "out")
    ledger.unlink()
    encode(videos, tmp_path / "out")
    assert shards(tmp_path / "out") == before


def test_a_broken_video_is_dropped_and_the_others_go_on(videos: Path, tmp_path: Path) -> None:
    (videos / "aa.mp4").write_bytes(b"only words")
    write_actions(videos / "aa.mp4", 3)
    write_actions(videos / "b.mp4", 30)  # fewer rows than frames: found out in the middle
    write_actions(videos / "c.mp4", 99)
    events = encode(videos, tmp_path / "out")
    broken = {event.video.name: event.broken for event in events if event.broken}
    assert set(broken) == {"aa.mp4", "b.mp4", "c.mp4"}
    assert "more frames than the 30 rows" in str(broken["b.mp4"])
    assert "fewer frames than the 99 rows" in str(broken["c.mp4"])
    index = json.loads((tmp_path / "out/index-00000.json").read_text())
    assert set(index["films"]) == {"a.mp4"}
    write_actions(videos / "b.mp4", 50)
    encode(videos, tmp_path / "out")
    index = json.loads((tmp_path / "out/index-00000.json").read_text())
    assert set(index["films"]) == {"a.mp4", "b.mp4"}


def test_ranks_share_the_videos_and_fewer_go_on_with_what_more_began(videos: Path, tmp_path: Path) -> None:
    out, codec = tmp_path / "out", CountingCodec()
    encode(videos, out, codec=codec, rank=0, world_size=2)
    encode(videos, out, codec=codec, rank=1, world_size=2, stop_after=2)
    assert finished_videos(out) == {"a.mp4", "c.mp4"}
    adopt(out, 1)
    encode(videos, out, codec=codec)
    assert finished_videos(out) == {"a.mp4", "b.mp4", "c.mp4"}
    found = [json.loads(path.read_text())["films"] for path in sorted(out.glob("index-*.json"))]
    assert [set(videos) for videos in found] == [{"a.mp4", "b.mp4", "c.mp4"}, set()]


def test_one_folder_takes_one_process_a_rank_and_one_encoding(tmp_path: Path) -> None:
    with shard_writer(tmp_path, 0):
        with pytest.raises(UsageError, match="another process encodes into .* as rank 0"), shard_writer(tmp_path, 0):
            pass
        with shard_writer(tmp_path, 1):
            pass
    check_encoding(tmp_path, {"size": [16, 16]})
    check_encoding(tmp_path, {"size": [16, 16]})
    with pytest.raises(UsageError, match="were made with another size"):
        check_encoding(tmp_path, {"size": [32, 16]})


def test_a_codec_is_known_by_its_weights_whatever_their_precision() -> None:
    module = tiny_pipeline.autoencoder()
    identity = identify(module)
    assert identify(tiny_pipeline.autoencoder(frame_rate=3.0)) == identity
    assert identify(tiny_pipeline.autoencoder(latent_std=(2.0, 1.0, 1.0))) != identity
    assert identify(module.half()) == identity
    next(module.parameters()).data[0] += 1
    assert identify(module) != identity
