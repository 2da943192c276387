"""All frames of a folder of videos at one size, decoded once: in memory while they fit there, else in a mapped file."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from malt.data.video_folder import VideoFile
from malt.errors import UsageError
from malt.media.video_reader import read_video
from malt.media.video_track import BrokenVideoError
from malt.wording import counted

Video = UInt8[np.ndarray, "_ h w 3"]
MEMORY_BOUND = 2 * 1024**3  # bytes of frames that are kept in memory
FRAMES, INDEX = "frames.uint8", "frames.json"


def decode_videos(
    videos: Sequence[VideoFile],
    size: tuple[int, int],
    *,
    fps: float | None = None,
    folder: Path | None = None,
    memory_bound: int = MEMORY_BOUND,
    log: Callable[[str], None] = print,
) -> dict[str, Video]:
    """The frames of every video that can be read, by its name, cut to `size` (height, width), at `fps` or the video's own rate.

    Up to `memory_bound` bytes stay in memory; more go to a file in `folder`, which a later call with the same videos
    finds again. A broken video is told of and left out.

    Raises:
        UsageError: no video can be read, or there are more frames than memory is granted and no folder is given.
    """
    asked = _asked(videos, size, fps)
    if folder is not None and (stored := _stored(folder, asked)) is not None:
        return stored
    shelf = _Shelf(folder, size, memory_bound)
    try:
        for video in videos:
            try:
                shelf.add(video.name, (batch.pixels for batch in read_video(video.path, size, fps=fps)))
            except BrokenVideoError as error:
                log(f"skipped: {error}")
        if not shelf.lengths:
            raise UsageError(
                f"none of {counted(len(videos), 'video')} can be read; give MP4, WebM or GIF files that play"
            )
        return shelf.finish(asked)
    finally:
        shelf.close()


class _Shelf:
    """Videos as they are decoded: a list in memory that turns into a file when it grows past its bound."""

    def __init__(self, folder: Path | None, size: tuple[int, int], memory_bound: int) -> None:
        self.folder, self.size, self.memory_bound = folder, size, memory_bound
        self.lengths: dict[str, int] = {}
        self.videos: list[Video] = []
        self.num_bytes = 0
        self.file: Any = None

    def add(self, name: str, batches: Iterator[Video]) -> None:
        """Take in one video; if it breaks off, nothing of it stays."""
        begin, kept, length = self.num_bytes, list[Video](), 0
        try:
            for batch in batches:
                kept.append(batch)
                length += len(batch)
                self.num_bytes += batch.nbytes
                if self.num_bytes > self.memory_bound:
                    self._spill()
                    kept = self._write(kept)
        except BrokenVideoError:
            if self.file is not None:
                self.file.seek(begin)
                self.file.truncate()
            self.num_bytes = begin
            raise
        if self.file is None:
            self.videos.append(np.concatenate(kept))
        else:
            self._write(kept)
        self.lengths[name] = length

    def finish(self, asked: dict[str, Any]) -> dict[str, Video]:
        """All videos that were taken in, by their names."""
        if self.file is None or self.folder is None:
            return dict(zip(self.lengths, self.videos, strict=True))
        self.file.close()
        (self.folder / f"{FRAMES}.part").replace(self.folder / FRAMES)
        (self.folder / f"{INDEX}.part").write_text(json.dumps({"asked": asked, "lengths": self.lengths}))
        (self.folder / f"{INDEX}.part").replace(self.folder / INDEX)
        return _map(self.folder, self.lengths, self.size)

    def close(self) -> None:
        """Close the file, wherever it broke off."""
        if self.file is not None:
            self.file.close()

    def _spill(self) -> None:
        if self.file is not None:
            return
        if self.folder is None:
            gigabytes = self.memory_bound / 1024**3
            raise UsageError(f"the videos do not fit in {gigabytes:.1f} GB of memory; give a folder to keep frames in")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).unlink(missing_ok=True)
        self.file = (self.folder / f"{FRAMES}.part").open("wb")
        self.videos = self._write(self.videos)

    def _write(self, videos: list[Video]) -> list[Video]:
        for video in videos:
            self.file.write(video.tobytes())
        return []


def _asked(videos: Sequence[VideoFile], size: tuple[int, int], fps: float | None) -> dict[str, Any]:
    """What frames in a file are known again by."""
    stamps = [[str(video.path.resolve()), video.path.stat().st_size, video.path.stat().st_mtime_ns] for video in videos]
    return {"size": list(size), "fps": fps, "films": stamps}


def _stored(folder: Path, asked: dict[str, Any]) -> dict[str, Video] | None:
    try:
        index = json.loads((folder / INDEX).read_text())
        if index["asked"] != asked:
            return None
        return _map(folder, dict(index["lengths"]), (asked["size"][0], asked["size"][1]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing there, or nothing whole: decode again


def _map(folder: Path, lengths: dict[str, int], size: tuple[int, int]) -> dict[str, Video]:
    frames = np.memmap(folder / FRAMES, np.uint8, mode="r", shape=(sum(lengths.values()), *size, 3))
    videos = np.split(frames, np.cumsum([*lengths.values()])[:-1].tolist())
    return dict(zip(lengths, videos, strict=True))
