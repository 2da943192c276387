"""What there is to do for the threads that compute: jobs that take turns, and errands between them."""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from malt.errors import MaltError
from malt.serving.engine.errand import Errand
from malt.serving.engine.job import JobState
from malt.serving.engine.participant import Participant
from malt.serving.engine.turns import Turns

Value = TypeVar("Value")
Task = Errand[Any] | Sequence[Participant]  # or those who have a turn in one pass
log = logging.getLogger(__name__)


class BusyError(MaltError):
    """There is no room for another job; try again later."""


class WorkQueue:
    """One queue for all threads; whoever looks at `turns` or `busy` holds `changed`, which is notified of every change.

    busy: jobs whose segments are in the making. An errand of those that come `later` is done while there are none.
    """

    def __init__(self, max_running: int, max_paused: float, clock: Callable[[], float], max_together: int = 1) -> None:
        self.turns, self.clock = Turns(max_running), clock
        self.busy = list[Participant]()
        self.threads = set[threading.Thread]()
        self.changed = threading.Condition()
        self.is_closing, self._is_closed = False, False
        self._max_paused, self._max_together = max_paused, max_together
        self._soon, self._later = deque[Errand[Any]](), deque[Errand[Any]]()
        self._alone: Errand[Any] | None = None  # that is done while nobody computes

    def give(self, work: Callable[[], Value], *, soon: bool) -> "Future[Value]":
        """Have something done by a thread that computes, in the midst of a segment if it is to be soon.

        Raises:
            BusyError: the threads come to rest.
        """
        errand = Errand(work, self.clock())
        with self.changed:
            if self._is_closed or (self.is_closing and threading.current_thread() not in self.threads):
                raise BusyError("the server is shutting down; try again when it is back")
            (self._soon if soon else self._later).append(errand)
            self.changed.notify_all()
        return errand.future

    @property
    def silent_seconds(self) -> float:
        """For how long the first errand has waited."""
        first = next(iter((*self._soon, *self._later)), None)
        return 0.0 if first is None else self.clock() - first.since

    def next(self) -> Task | None:
        """What a thread is to do, once there is something; None when it is to come to rest."""
        with self.changed:
            while not self.is_closing:
                task = self._errand() or self._jobs()
                if task is not None:
                    return task
                self.changed.wait(self._seconds_to_wait())
            return None

    def next_between(self, jobs: Sequence[Participant]) -> Task | None:
        """What a thread is to do between two steps of some jobs' pass, before it goes on with that; None for nothing."""
        with self.changed:
            task = self._short_errand()
            if task is None and not self.is_closing:
                self.turns.settle(self.clock())
                return self._busied(self.turns.choose(self.busy, below=jobs))
            return task

    def is_over(self, task: Task) -> None:
        """Let others have what a thread is done with."""
        with self.changed:
            if task is self._alone:
                self._alone = None
            elif not isinstance(task, Errand):
                self.busy = [job for job in self.busy if job not in task]
            self.changed.notify_all()

    def retire(self, job: Participant, state: JobState, error: str = "") -> None:
        """Take a job out, and let it end. On a thread that computes."""
        with self.changed:
            if not self.turns.remove(job):
                return
        failure = Errand(partial(job.end, state, error)).run().exception()
        if failure is not None:
            log.error("what follows the end of a job failed", exc_info=failure)

    def leave(self, thread: threading.Thread) -> None:
        """Come to rest; the last thread ends all jobs as STOPPED, and does what was still to be done."""
        with self.changed:
            self.threads.discard(thread)
            if self.threads:
                return
            self.threads.add(thread)
        for job in list(self.turns):
            self.retire(job, JobState.STOPPED)
        with self.changed:
            self._is_closed = True
        for errand in (*self._soon, *self._later):
            errand.run()

    def _errand(self) -> Errand[Any] | None:
        """The next errand; one of those that come later is alone."""
        short = self._short_errand()
        if short is None and self._later and not self.busy and self._alone is None:
            self._alone = self._later.popleft()
            return self._alone
        return short

    def _short_errand(self) -> Errand[Any] | None:
        if self._soon:
            return self._soon.popleft()
        unwanted = self._unwanted()
        return Errand(partial(self._cancel, unwanted), self.clock()) if unwanted else None

    def _cancel(self, jobs: list[Participant]) -> None:
        for job in jobs:
            self.retire(job, JobState.CANCELLED)

    def _jobs(self) -> list[Participant] | None:
        """Whose turn it is; nobody's while an errand is to be done alone."""
        if self._later or self._alone is not None:
            return None
        self.turns.settle(self.clock())
        each = math.ceil(len(self.turns.running) / max(1, len(self.threads)))  # no thread takes what is another's
        return self._busied(self.turns.choose(self.busy, most=min(self._max_together, each)))

    def _busied(self, jobs: list[Participant]) -> list[Participant] | None:
        self.busy += jobs
        return jobs or None

    def _unwanted(self) -> list[Participant]:
        """Whoever is no longer wanted, or has had no room for too long, and is not being computed."""
        now = self.clock()
        for job in self.turns:
            if job.paused_at is not None and now - job.paused_at > self._max_paused:
                job.is_wanted = False
        return [job for job in self.turns if not job.is_wanted and job not in self.busy]

    def _seconds_to_wait(self) -> float | None:
        since = [job.paused_at for job in self.turns if job.paused_at is not None]
        if not since or self._max_paused == float("inf"):
            return None
        return min(since) + self._max_paused - self.clock() + 0.01
