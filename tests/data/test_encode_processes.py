"""Laws of `malt encode` as it runs: processes that are killed at any moment, that share the work, and a disk that is full."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiny_pipeline
from malt.cli import main
from malt.data.shard_dataset import ShardDataset
from malt.data.shards import read_shard
from tiny_videos import write_actions, write_video

pytestmark = pytest.mark.slow  # every process imports torch

LENGTHS = {"a": 900, "b": 700, "c": 250}
KILLS = 3
OPTIONS = ["--codec", "codec", "--device", "cpu", "--threads", "1", "--stretch", "4", "--batch", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a codec, and what a process that nothing disturbs makes of them."""
    folder = tmp_path_factory.mktemp("encode")
    tiny_pipeline.autoencoder().save_pretrained(folder / "codec")
    for start, (name, length) in enumerate(LENGTHS.items()):
        write_actions(write_video(folder / "videos" / f"{name}.mp4", length, size=(64, 64), start=start), length)
    encode(folder, "expected").wait()
    return folder


def encode(folder: Path, out: str, rank: int = 0, world_size: int = 1) -> subprocess.Popen:
    """A process that encodes the videos of the folder into `out`."""
    ranks = {"RANK": str(rank), "WORLD_SIZE": str(world_size), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "malt", "encode", "videos", "--out", out, "--shard-megabytes", "1", *OPTIONS]
    return subprocess.Popen(command, cwd=folder, env=os.environ | ranks, stderr=subprocess.PIPE, text=True)


def kill_at_work(process: subprocess.Popen, shards: Path, rank: int, chance: random.Random) -> bool:
    """SIGKILL the process a moment after it has written something; whether it was still at work."""
    ledger = shards / f"ledger-{rank:05d}.jsonl"
    before = ledger.stat().st_size if ledger.exists() else 0
    while process.poll() is None and (not ledger.exists() or ledger.stat().st_size == before):
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def assert_whole(shards: Path, expected: Path) -> None:
    """The same videos as in `expected`, to the bit, every stretch of them in one shard and no other, and nothing else."""
    found, wanted = (ShardDataset.open(path) for path in (shards, expected))
    videos = {video.name: video for video in found.videos}
    assert len(videos) == len(found.videos) == len(LENGTHS)
    for video in wanted.videos:
        assert torch.equal(torch.cat(videos[video.name].stretches), torch.cat(video.stretches)), video.name
        assert torch.equal(torch.cat(videos[video.name].actions or ()), torch.cat(video.actions or ())), video.name
    samples = [sample for path in shards.glob("shard-*.tar") for sample in read_shard(path)]
    places = [(sample.info["film"], sample.info["first_latent"]) for sample in samples]
    kept = {
        key
        for path in shards.glob("index-*.json")
        for keys in json.loads(path.read_text())["films"].values()
        for key in keys
    }
    assert {sample.key for sample in samples} == kept
    assert len(places) == len(set(places))
    assert not [path.name for path in shards.iterdir() if path.suffix == ".part" or path.name.startswith("cache-")]


def test_a_process_that_is_killed_at_random_moments_loses_nothing_and_makes_nothing_twice(folder: Path) -> None:
    chance, kills = random.Random(), 0
    while kills < KILLS:
        process = encode(folder, "killed")
        killed = kill_at_work(process, folder / "killed", 0, chance)
        assert killed or process.returncode == 0, process.stderr and process.stderr.read()
        if not killed:
            break
        kills += 1
    assert kills > 0
    last = encode(folder, "killed")
    assert last.wait() == 0, last.stderr and last.stderr.read()
    assert_whole(folder / "killed", folder / "expected")


def test_two_processes_share_the_work_and_one_completes_what_a_killed_one_left(folder: Path) -> None:
    first, second = (encode(folder, "shared", rank, 2) for rank in (0, 1))
    assert kill_at_work(second, folder / "shared", 1, random.Random())
    assert first.wait() == 0, first.stderr and first.stderr.read()
    names = {video.name for video in ShardDataset.open(folder / "shared").videos}
    assert names >= {"a.mp4", "c.mp4"}
    alone = encode(folder, "shared")
    assert alone.wait() == 0, alone.stderr and alone.stderr.read()
    assert_whole(folder / "shared", folder / "expected")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds a part of the shards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk to be filled")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_with_more_room_the_same_command_goes_on(
    folder: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    command = ["encode", "videos", "--out", str(small_disk / "shards"), *OPTIONS]
    for _ in range(2):  # the second time there is no room from the beginning
        assert main(command) == 1
        said = capfd.readouterr().err.splitlines()[-1]
        assert said.startswith("malt: the disk is full") and "make room" in said
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert main(command) == 0
    assert_whole(small_disk / "shards", folder / "expected")
