"""The studio: models, one worker for all, and the visits under way; those that rest lie on the disk."""

import asyncio
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from malt.errors import MaltError
from malt.media.files import locked
from malt.serving.engine.work_queue import BusyError
from malt.serving.engine.worker import Worker
from malt.serving.limits import Limits
from malt.serving.refusals import MissingError
from malt.serving.uploads import Wanted, read_upload
from malt.studio.models import Model, Models
from malt.studio.visit_record import PREFIX, RECORD, visit_folder
from malt.studio.visitor import Visitor

STOP_AFTER, REST_AFTER = 60.0, 600.0  # seconds without a page that watches
SWEEP_DISK_SECONDS = 600.0
KEY_BYTES, MOST_KEY = 18, 64


class Studio:
    """All that one studio is made of.

    folder: where visits are kept; it is the studio's own until `rest`. token: what visitors have to show; None lets
    everybody in. scale: every pixel is written this many times each way, None for what makes it visible. most_visits: how
    many may be under way. stop_after: seconds without a page after which nothing more is made; rest_after: after which a
    visit is left to the disk. What is kept there for longer or is more than `limits` says is deleted.
    """

    def __init__(
        self,
        models: Models,
        folder: Path,
        *,
        limits: Limits | None = None,
        token: str | None = None,
        loopback_only: bool = True,
        scale: int | None = None,
        most_visits: int = 64,
        stop_after: float = STOP_AFTER,
        rest_after: float = REST_AFTER,
    ) -> None:
        self.models, self.limits = models, limits or Limits()
        self.token, self.loopback_only, self.scale = token, loopback_only, scale
        self.folder = _made(folder)
        self._lock = locked(
            self.folder / ".lock", f"another studio keeps its videos in {folder}; give this one a folder with --data"
        )
        self._lock.__enter__()
        self.worker = Worker(
            max_running=self.limits.running, max_waiting=self.limits.waiting, max_paused=self.limits.pause_seconds
        )
        self._most_visits, self._stop_after, self._rest_after = most_visits, stop_after, rest_after
        self._visits: dict[str, Visitor] = {}
        self._finding = threading.Lock()
        self.is_closing = False

    def welcome(self) -> str:
        """The key of a visit that begins; nothing of it is on the disk before something is made.

        Raises:
            BusyError: there are too many.
        """
        key = secrets.token_urlsafe(KEY_BYTES)
        with self._finding:
            self._open(key)
        return key

    def find(self, key: str) -> Visitor:
        """The visit with this key, from the disk where it rests.

        Raises:
            MissingError: there is none, or no longer.
            BusyError: there are too many.
        """
        visitor = self._visits.get(key)
        if visitor is None:
            with self._finding:
                visitor = self._visits.get(key) or self._wake(key)
        try:
            visitor.restore(self.models)
        except MaltError as error:  # all that was made is there; only going on with it has to wait
            visitor.problem = str(error)
        return visitor

    def read_first(self, file: IO[bytes], model: Model) -> UInt8[np.ndarray, "t h w 3"]:
        """The frames that a video is to begin with, from a picture or a video that somebody sent.

        Raises:
            UsageError: it is neither, is damaged, or goes beyond the limits.
        """
        fewest = model.pipe.codec.frames_of(1, first=True)
        size, rate = model.pipe.frame_size, model.pipe.frame_rate
        return read_upload(file, Wanted(size, rate, fewest, max(fewest, self.limits.frames // 2)), self.limits)

    def greeting(self, address: str) -> str:
        """What is said once the studio can be reached at an address."""
        return f"the studio is open at {address} ({', '.join(self.models.names)}); Ctrl-C closes it"

    def sweep(self) -> None:
        """Stop what is made for those who have gone; later, leave what they made to the disk."""
        for key, visitor in tuple(self._visits.items()):
            away = visitor.listeners.away
            if away > self._rest_after:
                self._rest(key)
            elif away > self._stop_after and visitor.job.is_going:
                visitor.stop()

    def sweep_disk(self) -> None:
        """Delete the visits that have rested for too long; and, while all take too much room, the one that rests longest."""
        awake = {visit_folder(self.folder, key) for key in tuple(self._visits)}
        resting = [folder for folder in self.folder.glob(f"{PREFIX}*") if folder not in awake]
        ages = {folder: time.time() - _last_used(folder) for folder in resting}
        used = sum(_bytes_in(folder) for folder in (*awake, *resting))
        for folder in sorted(resting, key=lambda folder: -ages[folder]):
            if ages[folder] > self.limits.keep_seconds or used > self.limits.disk_bytes:
                used -= _bytes_in(folder)
                shutil.rmtree(folder, ignore_errors=True)

    async def keep_swept(self, seconds: float = 2.0) -> None:
        """Sweep again and again, until cancelled."""
        swept = -SWEEP_DISK_SECONDS
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.sweep)
            if time.monotonic() - swept > SWEEP_DISK_SECONDS:
                await asyncio.to_thread(self.sweep_disk)
                swept = time.monotonic()

    async def rest(self, seconds: float) -> None:
        """End all work and tell those who watch; what they made stays. `seconds` bounds nothing that takes long."""
        if self.is_closing:
            return
        self.is_closing = True
        await asyncio.to_thread(self.worker.close)
        for key in tuple(self._visits):
            await asyncio.to_thread(self._rest, key)
        self._lock.__exit__(None, None, None)

    def _wake(self, key: str) -> Visitor:
        """A visit that rests on the disk."""
        if len(key) > MOST_KEY or self.is_closing or not (visit_folder(self.folder, key) / RECORD).is_file():
            raise MissingError("there is no such visit any more; load the page again to begin another")
        return self._open(key)

    def _open(self, key: str) -> Visitor:
        if len(self._visits) >= self._most_visits:
            self._make_room()
        visitor = Visitor(self.worker, self.limits, visit_folder(self.folder, key), scale=self.scale)
        self._visits[key] = visitor
        return visitor

    def _make_room(self) -> None:
        """Leave a visit to the disk that nobody watches."""
        idle = {key: each.listeners.away for key, each in self._visits.items() if not each.job.is_going}
        longest = max(idle, key=lambda key: idle[key], default=None)
        if longest is None or not idle[longest]:
            raise BusyError(f"{len(self._visits)} visitors are here, as many as there may be; try again in a while")
        self._rest(longest)

    def _rest(self, key: str) -> None:
        if visitor := self._visits.pop(key, None):
            visitor.leave()


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaltError(f"cannot make the folder {folder} ({error.strerror}); give another with --data") from error
    return folder.resolve()


def _last_used(folder: Path) -> float:
    try:
        return (folder / RECORD).stat().st_mtime
    except OSError:  # one that was cut short before it had a record
        return 0.0


def _bytes_in(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except OSError:  # a file went while it was looked at
        return 0
