"""The studio: models, one worker for all, and the visits under way; those who have left are cleared away."""

import asyncio
import time
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import IO

import numpy as np
from jaxtyping import UInt8

from malt.errors import UsageError
from malt.serving.engine.work_queue import BusyError
from malt.serving.engine.worker import Worker
from malt.serving.limits import Limits
from malt.serving.uploads import Wanted, read_upload
from malt.studio.models import Model, Models
from malt.studio.visitor import Visitor

STOP_AFTER, FORGET_AFTER = 20.0, 600.0  # seconds without a page that watches


class Studio:
    """All that one studio is made of.

    folder: where the takes of those who are here are kept, and under `uploads` what they sent. token: what visitors have to
    show; None lets everybody in. scale: every pixel is written this many times each way, None for what makes it
    visible. most_visits: how many pages may be open, or have been lately.
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
        forget_after: float = FORGET_AFTER,
    ) -> None:
        self.models, self.folder, self.limits = models, folder, limits or Limits()
        self.uploads = folder / "sent"
        self.token, self.loopback_only, self.scale = token, loopback_only, scale
        self.worker = Worker(max_running=self.limits.running, max_waiting=self.limits.waiting)
        self._most_visits, self._stop_after, self._forget_after = most_visits, stop_after, forget_after
        self._visits: dict[str, Visitor] = {}
        self.is_closing = False

    def welcome(self) -> Visitor:
        """A visit that begins.

        Raises:
            BusyError: there are too many.
        """
        if len(self._visits) >= self._most_visits:
            raise BusyError(f"{len(self._visits)} visitors are here, as many as there may be; try again in a while")
        visitor = Visitor(self.worker, self.limits, Path(mkdtemp(prefix="visit-", dir=self.folder)), scale=self.scale)
        self._visits[visitor.key] = visitor
        return visitor

    def find(self, key: str | None) -> Visitor:
        """The visit with this key.

        Raises:
            UsageError: there is none, not yet or no longer.
        """
        if key is None:
            raise UsageError("the page is still being set up; try again in a moment")
        visitor = self._visits.get(key)
        if visitor is None:
            raise UsageError("this visit has ended; load the page again")
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
        """Stop what is made for those who have gone; later, let go of what they left."""
        now = time.monotonic()
        for visitor in tuple(self._visits.values()):
            away = 0.0 if visitor.watchers else now - visitor.seen
            if away > self._forget_after:
                del self._visits[visitor.key]
                visitor.leave()
            elif away > self._stop_after and visitor.job.is_going:
                visitor.stop()

    async def keep_swept(self, seconds: float = 2.0) -> None:
        """Sweep again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.sweep)

    async def rest(self, seconds: float) -> None:
        """End all work and tell those who watch; what they made is deleted. `seconds` bounds nothing that takes long."""
        self.is_closing = True
        await asyncio.to_thread(self.worker.close)
        for visitor in tuple(self._visits.values()):
            visitor.notify()
            await asyncio.to_thread(visitor.leave)
        self._visits.clear()
        await asyncio.to_thread(rmtree, self.uploads, ignore_errors=True)
