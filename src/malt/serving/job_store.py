"""Videos on disk: a folder for each with its record, its session and the video itself, whole after any kill.

The names of folders are drawn here; nothing that a visitor sends becomes part of a path.
"""

import json
import logging
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
from pydantic import TypeAdapter

from malt.errors import MaltError
from malt.media.files import locked, write_whole
from malt.serving.refusals import FullError
from malt.sessions.storage import session_folder

RECORD, VIDEO, FIRST, CHARACTER = "record.json", "video.mp4", "first.npy", "character.npy"
NAME = re.compile(r"video_[0-9a-f]{32}")
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Record:
    """What is known of a video job.

    request: what was asked for, as JSON. end_in_file: where the whole frames of its video end. parent: the video that it
    goes on from or is another of, and `parting` where they part, if they have a beginning in common. attempts: how often it
    was begun or gone on with since a segment of it was made. remarks: what its visitor is told.
    """

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
    parent: str | None = None
    parting: dict[str, Any] | None = None
    attempts: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("completed", "failed", "cancelled")


RECORDS = TypeAdapter(Record)


class JobStore:
    """The folder in which a server keeps its videos, which is its own until `close`."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and take it.

        Raises:
            MaltError: it cannot be made.
            UsageError: another server has it.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MaltError(f"cannot make the folder {folder} ({error.strerror}); give another with --data") from error
        self.folder = folder.resolve()
        self._sizes: dict[str, int] = {}
        self.num_damaged = 0
        self._lock = locked(
            self.folder / ".lock",
            f"another server keeps its videos in {folder}; give this one a folder of its own with --data",
        )
        self._lock.__enter__()

    def close(self) -> None:
        """Let another server have the folder."""
        self._lock.__exit__(None, None, None)

    def records(self) -> Iterator[Record]:
        """All records, oldest first; one that is damaged is left where it is, with a warning.

        What a deletion that was cut short has left is cleared away.
        """
        found = []
        for folder in self.folder.iterdir():
            if not NAME.fullmatch(folder.name):
                continue
            try:
                found.append(_read(folder / RECORD))
            except FileNotFoundError:
                shutil.rmtree(folder, ignore_errors=True)
            except (OSError, ValueError) as error:
                self.num_damaged += 1
                log.warning("%s cannot be read (%s); it is left out", folder / RECORD, str(error).split("\n")[0])
        yield from sorted(found, key=lambda record: record.created_at)

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all.

        Raises:
            FullError: it cannot be written, as on a full disk.
        """
        folder = self.folder / record.id
        try:
            folder.mkdir(exist_ok=True)
            write_whole(folder / RECORD, json.dumps(asdict(record), indent=1) + "\n")
        except OSError as error:
            raise FullError(f"could not keep the video {record.id} ({error.strerror}); make room") from error

    def put_frames(self, record: Record, frames: UInt8[np.ndarray, "t h w 3"] | None, name: str = FIRST) -> None:
        """Keep the frames that a video begins with, or those of its character, if there are any, before its record is put.

        Raises:
            FullError: they cannot be written.
        """
        if frames is None:
            return
        try:
            (self.folder / record.id).mkdir(exist_ok=True)
            np.save(self.folder / record.id / name, frames, allow_pickle=False)
        except OSError as error:
            raise FullError(f"could not keep the frames that were sent ({error.strerror}); make room") from error

    def frames(self, record: Record, name: str = FIRST) -> UInt8[np.ndarray, "t h w 3"] | None:
        """The frames that a video begins with, or those of its character; they stay on the disk until they are used."""
        file = self.folder / record.id / name
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None

    def video(self, record: Record) -> Path:
        """Where its video is, or will be."""
        return self.folder / record.id / VIDEO

    def copy(self, source: Record, record: Record) -> None:
        """Let a video begin as another's file and session, which are whole, before its record is put.

        Raises:
            FullError: they cannot be copied.
        """
        try:
            (self.folder / record.id).mkdir(exist_ok=True)
            shutil.copytree(session_folder(self.video(source)), session_folder(self.video(record)))
            shutil.copyfile(self.video(source), self.video(record))
        except OSError as error:
            shutil.rmtree(self.folder / record.id, ignore_errors=True)
            raise FullError(f"could not copy the video {source.id} ({error.strerror}); make room") from error

    def num_bytes(self, record: Record) -> int:
        """How much of the disk a video takes with all that belongs to it."""
        if record.id in self._sizes:
            return self._sizes[record.id]
        size = _bytes_in(self.folder / record.id)
        if record.is_over:
            self._sizes[record.id] = size
        return size

    def forget(self, record: Record) -> None:
        """Let a video no longer count, whatever happens next."""
        self._sizes.pop(record.id, None)
        (self.folder / record.id / RECORD).unlink(missing_ok=True)

    def remove(self, record: Record) -> None:
        """Delete a video and all that belongs to it."""
        self.forget(record)
        shutil.rmtree(self.folder / record.id, ignore_errors=True)


def _read(file: Path) -> Record:
    """A record; what a later version of malt may have added to it is left out."""
    record = RECORDS.validate_json(file.read_bytes())
    if record.id != file.parent.name or record.num_frames < 1 or not record.frame_rate > 0:
        raise ValueError("it is not the record of this folder")
    return record


def _bytes_in(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except OSError:  # a file went while it was looked at
        return 0
