"""Writes the shards of one rank so that a kill at any moment costs the stretch in hand and nothing else.

A sample is on the disk before the ledger tells of it; a shard grows under a name with `.part` and is renamed when it is
complete. What an encoder carries from one stretch to the next is kept too, so that a long video goes on in its middle.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from malt.data.ledger import Ledger, Stretch
from malt.data.shards import TAR_END, index_name, pack, shard_name
from malt.errors import UsageError
from malt.media.files import file_sha256, locked, replacing, write_whole

ENCODING = "encode.json"
SHARD_BYTES = 256 * 1024**2


class ShardWriter:
    """The open shard and the ledger of one rank; make it by `shard_writer`, which holds the rank's lock."""

    def __init__(self, folder: Path, rank: int, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.rank, self.shard_bytes = folder, rank, shard_bytes
        self.ledger = Ledger.read(ledger_file(folder, rank))
        self.ledger.mend()
        self._recover()

    def begun(self, video: str) -> tuple[int, Any]:
        """How many latent frames of this video are written already, and the encoder's cache behind them.

        What was written of any other unfinished video is dropped: it is no longer asked for.
        """
        if self.ledger.video not in (None, video):
            self.drop(str(self.ledger.video), "it is no longer asked for")
        if self.ledger.video is None:
            return 0, None
        try:
            return self.ledger.latents, _load_cache(self._cache_file(self.ledger.stretches[-1].key))
        except (OSError, ValueError, KeyError, SafetensorError):
            self.drop(video, "the encoder's cache behind it is gone")
            return 0, None

    def add(
        self, video: str, tensors: dict[str, Tensor], info: Mapping[str, Any], cache: Any, last: bool = False
    ) -> None:
        """Write the next stretch of a video, and the encoder's cache after it, unless it is the last."""
        key = f"{self.rank:05d}-{self.ledger.num_samples:08d}"
        content, begin = pack(key, tensors, info), self.ledger.end
        with self._open_shard() as file:
            file.seek(begin)
            file.write(content)
        if not last:
            _save_cache(self._cache_file(key), cache)
        stretch = Stretch(key, self.ledger.shard, begin, begin + len(content), len(tensors["latents"]))
        self.ledger.sample(video, stretch)
        self._forget_caches(but=key)
        if self.ledger.end >= self.shard_bytes:
            self.close_shard()

    def finish(self, video: str) -> None:
        """The video is encoded to its end."""
        self.ledger.finish(video)

    def drop(self, video: str, why: str) -> None:
        """Take back what was written of a video: it cannot be used."""
        self.ledger.drop(video, why)

    def close_shard(self) -> None:
        """Complete the open shard, if there is anything in it, and the index."""
        index = self.ledger.shard
        if self.ledger.end:
            part, final = self._part(index), self.folder / shard_name(self.rank, index)
            with self._open_shard() as file:
                file.seek(self.ledger.end)
                file.truncate()
                file.write(TAR_END)
            part.replace(final)
            self.ledger.close(index, file_sha256(final))
        self._write_index()

    def close(self) -> None:
        """Complete the last shard and the index; call it when all videos are done. What is unfinished is dropped."""
        if self.ledger.video is not None:
            self.drop(self.ledger.video, "it is no longer asked for")
        self.close_shard()
        self._part(self.ledger.shard).unlink(missing_ok=True)
        self._forget_caches()

    def _recover(self) -> None:
        """Bring the folder into the state that the ledger tells of."""
        final = self.folder / shard_name(self.rank, self.ledger.shard)
        if self.ledger.end and final.exists():  # killed between the renaming and the line that tells of it
            self.ledger.close(self.ledger.shard, file_sha256(final))
        gone = {index for index in self.ledger.closed if not (self.folder / shard_name(self.rank, index)).exists()}
        if self.ledger.end and not self._part(self.ledger.shard).exists():
            gone.add(self.ledger.shard)
        done = [*self.ledger.done.items(), (self.ledger.video, self.ledger.stretches)]
        for video, stretches in done:
            if video is not None and any(stretch.shard in gone for stretch in stretches):
                self.drop(video, "its shard is gone")
        self._write_index()

    def _write_index(self) -> None:
        ledger = self.ledger
        names = {shard_name(self.rank, index): sha256 for index, sha256 in ledger.closed.items()}
        shards = {name: sha256 for name, sha256 in names.items() if (self.folder / name).exists()}
        content = {"shards": shards, "films": ledger.published()}
        write_whole(self.folder / index_name(self.rank), json.dumps(content, ensure_ascii=False, indent=1))

    @contextmanager
    def _open_shard(self) -> Iterator[Any]:
        """The open shard's file, on the disk when the block is left."""
        part = self._part(self.ledger.shard)
        with part.open("r+b" if part.exists() else "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _part(self, index: int) -> Path:
        return self.folder / f"{shard_name(self.rank, index)}.part"

    def _cache_file(self, key: str) -> Path:
        return self.folder / f"cache-{key}.safetensors"

    def _forget_caches(self, but: str = "") -> None:
        for path in self.folder.glob(f"cache-{self.rank:05d}-*"):
            if path != self._cache_file(but):
                path.unlink()


def ledger_file(folder: Path, rank: int) -> Path:
    """Where a rank's ledger lies."""
    return folder / f"ledger-{rank:05d}.jsonl"


@contextmanager
def shard_writer(folder: Path, rank: int, shard_bytes: int = SHARD_BYTES) -> Iterator[ShardWriter]:
    """The writer of a rank's shards in a folder, while no other process has it.

    Raises:
        UsageError: another process writes there as the same rank, or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}); name another") from error
    busy = f"another process encodes into {folder} as rank {rank}; wait for it, or give each its own --rank"
    with locked(folder / f"lock-{rank:05d}", busy):
        yield ShardWriter(folder, rank, shard_bytes)


def check_encoding(folder: Path, told: dict[str, Any]) -> None:
    """Note in the folder how its shards are made, or hold what is asked for now against what was noted.

    Raises:
        UsageError: the folder holds shards that are made in another way.
    """
    path = folder / ENCODING
    if not path.exists():
        write_whole(path, json.dumps(told, indent=1))
    compare_encoding(folder, told)


def compare_encoding(folder: Path, told: dict[str, Any]) -> None:
    """Hold a part of what is asked for now against what was noted in the folder, if anything was.

    Raises:
        UsageError: the folder holds shards that are made in another way.
    """
    path = folder / ENCODING
    if not path.exists():
        return
    try:
        noted = dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged; name another folder, or delete this one") from error
    for name, asked in told.items():
        if noted.get(name) != asked:
            raise UsageError(
                f"the shards in {folder} were made with another {name} ({noted.get(name)}, now {asked}); name another folder"
            )


def adopt(folder: Path, world_size: int) -> None:
    """Complete what ranks that there are no more have left behind, when fewer processes go on with what more began.

    Raises:
        UsageError: one of them is still at work.
    """
    for path in sorted(folder.glob("ledger-*.jsonl")):
        rank = int(path.stem.partition("-")[2])
        if rank >= world_size:
            with shard_writer(folder, rank) as writer:
                writer.close()


def finished_videos(folder: Path) -> set[str]:
    """The videos that any rank has encoded to their end."""
    ledgers = [Ledger.read(path) for path in folder.glob("ledger-*.jsonl")]
    return {video for ledger in ledgers for video in ledger.done}


def _save_cache(path: Path, cache: Any) -> None:
    """Keep an encoder's cache: None, or a tuple of tensors, words and None."""
    entries = [] if cache is None else list(cache)
    tensors = {str(n): entry.contiguous() for n, entry in enumerate(entries) if isinstance(entry, Tensor)}
    words = [None if isinstance(entry, Tensor) else entry for entry in entries]
    told = {"cache": json.dumps(None if cache is None else words)}
    with replacing(path) as draft:
        save_file(tensors or {"none": torch.zeros(1)}, draft, metadata=told)


def _load_cache(path: Path) -> Any:
    with safe_open(path, framework="pt") as file:
        words = json.loads((file.metadata() or {})["cache"])
    if words is None:
        return None
    tensors = load_file(path)
    return tuple(tensors.get(str(n), word) for n, word in enumerate(words))
