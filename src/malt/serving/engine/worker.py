"""One model and one thread that computes, shared fairly by many sessions: a segment of each in turn.

Two threads: the computer makes segments and does whatever else needs the model; the planner says whose turn it is.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from itertools import chain
from typing import TypeVar

from malt.errors import MaltError
from malt.rollouts.base import ActionPolicy, Segment
from malt.sessions.session import Session

Value = TypeVar("Value")
log = logging.getLogger(__name__)


class BusyError(MaltError):
    """There is no room for another job; try again later."""


class JobState(StrEnum):
    """Where a job stands. The first two are under way; STOPPED is one that ended because the worker did."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class Job:
    """A session on its way to `num_frames` frames (None: without end). `Worker.start` makes these.

    error: one sentence, once the state is FAILED. frames_made: length of the video so far, given frames included.
    """

    def __init__(
        self,
        segments: Iterator[Segment],
        num_frames: int | None,
        on_segment: Callable[[Segment], None],
        has_room: Callable[[], bool],
        on_end: Callable[["Job"], None],
    ) -> None:
        self.num_frames, self.has_room = num_frames, has_room
        self.state, self.error, self.frames_made = JobState.WAITING, "", 0
        self._segments: Iterator[Segment] | None = segments
        self._on_segment, self._on_end = on_segment, on_end
        self._ended = threading.Event()
        self._wanted = True

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over and `on_end` has been called; whether it is."""
        return self._ended.wait(timeout)

    def _step(self) -> bool:
        """Make and hand on a segment, cut to the job's length; whether there was one. On the computer's thread."""
        if self._segments is None or not self._wanted:
            return False
        segment = next(self._segments, None)
        if segment is None:
            return False
        if self.num_frames is not None:
            segment = replace(segment, frames=segment.frames[:, : self.num_frames - segment.start])
        self.frames_made = segment.start + segment.frames.shape[1]
        self._on_segment(segment)
        return True

    def _end(self, state: JobState, error: str) -> None:
        """Let go of everything and say so. On the computer's thread."""
        self.state, self.error, self._segments = state, error, None
        on_end, self._on_end, self._on_segment, self.has_room = self._on_end, _ignore, _ignore, lambda: True
        try:
            on_end(self)
        finally:
            self._ended.set()


class Worker:
    """Runs the jobs of many sessions in turn.

    A job whose reader has no room is passed over until there is some: a slow reader waits for itself alone, and nothing
    piles up. At most `max_running` jobs take turns, `max_waiting` more wait for their place, any beyond are refused.
    Everything public may be called from any thread.
    """

    def __init__(self, *, max_running: int = 8, max_waiting: int = 32) -> None:
        self.max_running, self.max_waiting = max_running, max_waiting
        self._running: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._computer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="malt-computer")
        self._planner = threading.Thread(target=self._plan, name="malt-planner", daemon=True)
        self._planner.start()

    @property
    def num_running(self) -> int:
        """How many jobs take turns."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """How many jobs wait for their place."""
        return len(self._waiting)

    def start(
        self,
        session: Session,
        num_frames: int | None = None,
        on_segment: Callable[[Segment], None] = lambda segment: None,
        *,
        given: Iterable[Segment] = (),
        driver: ActionPolicy | None = None,
        has_room: Callable[[], bool] = lambda: True,
        on_end: Callable[[Job], None] = lambda job: None,
        keep: bool = False,
    ) -> Job:
        """Let a session's video grow to `num_frames` frames, without end for None; the last segment is cut.

        Args:
            session: what goes on; until the job is over, it belongs to this worker, except that `say` may be called.
            num_frames: length of the whole video.
            on_segment: called with each segment, on the computing thread: it must not wait for anybody. What it raises
                ends the job as FAILED.
            given: segments that come first, as `session.absorb` gives them.
            driver: says what is done in the frames to come, for models that take actions.
            has_room: asked before each segment; while it says False the job pauses. Call `wake` when that changes.
            on_end: called once, on the computing thread, when it is over, whatever ended it and whether or not it began.
            keep: take the job on even where too many wait, as after a restart.

        Raises:
            BusyError: too many wait already, or the worker is closing.
        """
        segments = chain(given, session.stream(num_frames, driver))
        job = Job(segments, num_frames, on_segment, has_room, on_end)
        with self._changed:
            self._check_room(keep)
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def do(self, work: Callable[[], Value]) -> "Future[Value]":
        """Have something done with the model between two segments, such as `Session.begin`, `rewind` or `branch`.

        Raises:
            BusyError: the worker is closing.
        """
        try:
            return self._computer.submit(work)
        except RuntimeError as error:
            raise BusyError("the server is shutting down; try again when it is back") from error

    def cancel(self, job: Job) -> None:
        """End a job; a segment in the making is finished and handed on first. `job.wait` waits for the end."""
        with self._changed:
            job._wanted = False
            waits = job in self._waiting
            self._changed.notify_all()
        if waits:
            self._retire(job, JobState.CANCELLED)

    def wake(self) -> None:
        """Have the paused jobs asked again whether there is room."""
        with self._changed:
            self._changed.notify_all()

    def check_room(self) -> None:
        """Find out, before any work, whether a job would be taken.

        Raises:
            BusyError: it would not.
        """
        with self._changed:
            self._check_room(keep=False)

    def close(self) -> None:
        """Finish the segment in the making, end all jobs as STOPPED and come to rest."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._planner.join()
        self._computer.shutdown()

    def _check_room(self, keep: bool) -> None:
        if self._closing:
            raise BusyError("the server is shutting down; try again when it is back")
        crowd = len(self._running) + len(self._waiting)
        if crowd >= self.max_running + self.max_waiting and not keep:
            raise BusyError(
                f"{len(self._running)} videos are being made and {len(self._waiting)} wait; try again in a while"
            )

    def _plan(self) -> None:
        """What the planner does until the worker closes."""
        while (job := self._next()) is not None:
            going_on = self._computer.submit(job._step)
            error = going_on.exception()
            if error is not None:
                self._retire(job, JobState.FAILED, _sentence(error))
            elif not job._wanted:
                self._retire(job, JobState.CANCELLED)
            elif not going_on.result():
                self._retire(job, JobState.DONE)
        with self._changed:
            left = [*self._running, *self._waiting]
        for job in left:
            self._retire(job, JobState.STOPPED)

    def _next(self) -> Job | None:
        """Wait for a job that can have a turn, and put it behind the others; None when the worker closes."""
        with self._changed:
            while not self._closing:
                self._admit()
                for job in self._running:
                    if not job._wanted or job.has_room():
                        self._running.remove(job)
                        self._running.append(job)
                        return job
                self._changed.wait()
        return None

    def _admit(self) -> None:
        """Let those who wait in where there is a place; they come before those who had a turn."""
        num_places = max(0, self.max_running - len(self._running))
        newcomers = [self._waiting.popleft() for _ in range(min(num_places, len(self._waiting)))]
        for job in newcomers:
            job.state = JobState.RUNNING
        self._running.extendleft(reversed(newcomers))

    def _retire(self, job: Job, state: JobState, error: str = "") -> None:
        """Take a job out, if that has not been done, and let it end on the computer's thread."""
        with self._changed:
            jobs = self._running if job in self._running else self._waiting
            if job not in jobs:
                return
            jobs.remove(job)
            self._computer.submit(job._end, state, error).add_done_callback(_log_failure)


def run_in_fresh_thread(work: Callable[[], Value]) -> Value:
    """Do something in a thread that ends with it, as loading a model that another thread will compute with.

    Each thread that computes keeps a team of threads, and where all teams together outnumber the processors, those of GNU's
    OpenMP no longer wait awake: a segment then takes nearly twice as long. A team goes with its thread.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(work).result()


def _ignore(what: object) -> None:
    """What a job that is over does with anything."""


def _log_failure(ending: "Future[None]") -> None:
    if (error := ending.exception()) is not None:
        log.error("what follows the end of a job failed", exc_info=error)


def _sentence(error: BaseException) -> str:
    """What a job's visitor is told of an error; the rest goes to the log."""
    if isinstance(error, MaltError):
        return str(error)
    log.error("a job failed", exc_info=error)
    return f"the video could not be made ({type(error).__name__}); the server's log says more"
