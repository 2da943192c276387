"""Videos on disk: a folder for each with its record, its session and the video itself, whole after any kill.

The names of folders are drawn here; nothing that a visitor sends becomes part of a path.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import UInt8

from malt.errors import MaltError
from malt.media.files import write_whole

RECORD, VIDEO, FIRST = "record.json", "video.mp4", "first.npy"
NAME = re.compile(r"video_[0-9a-f]{32}")


@dataclass(kw_only=True)
class Record:
    """What is known of a video job; `request` is what was asked for, as JSON, `end_in_file` where its whole frames end."""

    request: dict[str, Any]
    model: str
    size: str
    num_frames: int
    frame_rate: float
    id: str = field(default_factory=lambda: f"video_{uuid4().hex}")
    status: str = "queued"
    created_at: float = field(default_factory=time.time)
    completed_at: float | None = None
    frames_made: int = 0
    end_in_file: int = 0
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("completed", "failed", "cancelled")


class JobStore:
    """The folder in which a server keeps its videos."""

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            MaltError: it cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MaltError(f"cannot make the folder {folder} ({error.strerror}); give another with --data") from error
        self._folder = folder.resolve()

    def records(self) -> Iterator[Record]:
        """All records, oldest first; what a deletion that was cut short has left is cleared away."""
        found = []
        for folder in self._folder.iterdir():
            if not NAME.fullmatch(folder.name):
                continue
            try:
                found.append(Record(**json.loads((folder / RECORD).read_text(encoding="utf-8"))))
            except FileNotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
            except (OSError, TypeError, ValueError) as error:
                raise MaltError(f"{folder / RECORD} cannot be read ({error}); mend it or move {folder} away") from error
        yield from sorted(found, key=lambda record: record.created_at)

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all.

        Raises:
            MaltError: it cannot be written, as on a full disk.
        """
        folder = self._folder / record.id
        try:
            folder.mkdir(exist_ok=True)
            write_whole(folder / RECORD, json.dumps(asdict(record), indent=1) + "\n")
        except OSError as error:
            raise MaltError(f"could not keep the video {record.id} ({error.strerror}); make room") from error

    def put_first(self, record: Record, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Keep the frames that a video begins with, before its record is put."""
        try:
            (self._folder / record.id).mkdir(exist_ok=True)
            np.save(self._folder / record.id / FIRST, frames, allow_pickle=False)
        except OSError as error:
            raise MaltError(f"could not keep the first frames ({error.strerror}); make room") from error

    def first(self, record: Record) -> UInt8[np.ndarray, "t h w 3"] | None:
        """The frames that a video begins with, if it was given any; they stay on the disk until they are used."""
        file = self._folder / record.id / FIRST
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None

    def video(self, record: Record) -> Path:
        """Where its video is, or will be."""
        return self._folder / record.id / VIDEO

    def forget(self, record: Record) -> None:
        """Let a video no longer count, whatever happens next."""
        (self._folder / record.id / RECORD).unlink(missing_ok=True)

    def remove(self, record: Record) -> None:
        """Delete a video and all that belongs to it."""
        self.forget(record)
        shutil.rmtree(self._folder / record.id, ignore_errors=True)
