"""One model and one thread that computes, shared fairly by many sessions: each in turn, for about the same time.

The thread makes segments and does whatever else needs the model. Between any two denoising steps it hears that a job is no
longer wanted or that the worker closes, does what must not wait, and gives cheaper jobs their turn.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from malt.errors import MaltError
from malt.rollouts.base import ActionPolicy, Segment
from malt.serving.engine.errand import Errand
from malt.serving.engine.job import GivenUp, Job, JobState
from malt.serving.engine.participant import Participant
from malt.serving.engine.turns import Turns
from malt.sessions.session import Session

Value = TypeVar("Value")
log = logging.getLogger(__name__)


class BusyError(MaltError):
    """There is no room for another job; try again later."""


class Worker:
    """Runs the jobs of many sessions in turn.

    A job whose reader has no room is passed over until there is some: a slow reader waits for itself alone, nothing piles
    up, and its place goes to those who wait. At most `max_running` jobs take turns, `max_waiting` more wait for their
    place, any beyond are refused. Everything public may be called from any thread.
    """

    def __init__(
        self,
        *,
        max_running: int = 8,
        max_waiting: int = 32,
        max_paused: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            max_running: jobs that take turns.
            max_waiting: jobs that wait for their place.
            max_paused: seconds after which a job that has no room is cancelled.
            clock: what turns are measured with.
        """
        self.max_running, self.max_waiting, self.max_paused = max_running, max_waiting, max_paused
        self._clock = clock
        self._turns = Turns(max_running)
        self._stack: list[
            Participant
        ] = []  # whose segments are in the making, each between two steps of the one before it
        self._soon, self._later = deque[Errand[Any]](), deque[Errand[Any]]()
        self._is_away = False  # on an errand
        self._changed = threading.Condition()
        self._closing, self._closed = False, False
        self._mark = self._sign = clock()
        self._thread = threading.Thread(target=self._run, name="malt-computer", daemon=True)
        self._thread.start()

    @property
    def num_running(self) -> int:
        """How many jobs take turns or would, had they room."""
        return self._turns.num_running + len(self._turns.paused)

    @property
    def num_waiting(self) -> int:
        """How many jobs wait for their place."""
        return len(self._turns.waiting)

    @property
    def silent_seconds(self) -> float:
        """For how long nothing has been finished, not even a denoising step, though there is something to do."""
        return self._clock() - self._sign if self._is_busy else 0.0

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
            session: what goes on; until the job is over, it belongs to this worker, except that `set_prompt` may be called.
            num_frames: length of the whole video.
            on_segment: called with each segment, on the computing thread: it must not wait for anybody. What it raises
                ends the job as FAILED.
            given: segments that come first, as `session.prefill` gives them.
            driver: says what is done in the frames to come, for models that take actions.
            has_room: asked before each segment; while it says False the job pauses. Call `wake` when that changes.
            on_end: called once, on the computing thread, when it is over, whatever ended it and whether or not it began.
            keep: take the job on even where too many wait, as after a restart.

        Raises:
            BusyError: too many wait already, or the worker is closing.
        """
        segments = chain(given, session.stream(num_frames, driver))
        job = Job(session, segments, num_frames, on_segment, has_room, on_end)
        with self._changed:
            self._check_room(keep)
            self._turns.waiting.append(job)
            self._changed.notify_all()
        return job

    def host(self, resident: Participant) -> None:
        """Give turns to one that takes nobody's place, as long as the worker runs; call `wake` when it has something to do."""
        with self._changed:
            resident.state = JobState.RUNNING
            self._turns.running.append(resident)

    def do(self, work: Callable[[], Value]) -> "Future[Value]":
        """Have something done with a session between two segments, such as `rewind` or `branch`.

        Raises:
            BusyError: the worker is closing.
        """
        return self._give(self._later, work)

    def do_soon(self, work: Callable[[], Value]) -> "Future[Value]":
        """Have something short done with the model, in the midst of a segment if need be, such as `Session.begin`.

        Raises:
            BusyError: the worker is closing.
        """
        return self._give(self._soon, work)

    def cancel(self, job: Job) -> None:
        """End a job; a segment in the making is given up behind its next step. `job.wait` waits for the end."""
        with self._changed:
            job.is_wanted = False
            self._changed.notify_all()

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
        """Give up the segment in the making, end all jobs as STOPPED and come to rest."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _check_room(self, keep: bool) -> None:
        if self._closing:
            raise BusyError("the server is shutting down; try again when it is back")
        if self.num_running + self.num_waiting >= self.max_running + self.max_waiting and not keep:
            raise BusyError(
                f"{self.num_running} videos are being made and {self.num_waiting} wait; try again in a while"
            )

    @property
    def _is_busy(self) -> bool:
        return bool(self._stack or self._soon or self._later or self._is_away)

    def _give(self, errands: deque[Errand[Any]], work: Callable[[], Value]) -> "Future[Value]":
        errand = Errand(work)
        with self._changed:
            if self._closed or (self._closing and threading.current_thread() is not self._thread):
                raise BusyError("the server is shutting down; try again when it is back")
            if not self._is_busy:
                self._sign = self._clock()
            errands.append(errand)
            self._changed.notify_all()
        return errand.future

    def _run(self) -> None:
        """What the computing thread does until the worker closes."""
        while not self._closing:
            self._run_errands()
            job = self._next()
            if job is not None:
                self._turn(job)
        for job in list(self._turns):
            self._retire(job, JobState.STOPPED)
        with self._changed:
            self._closed = True
        self._run_errands()

    def _next(self) -> Participant | None:
        """Whose turn it is, once there is somebody; None where there is something else to do first."""
        self._let_go()
        with self._changed:
            if self._closing or self._soon or self._later:
                return None
            self._turns.settle(self._clock())
            job = self._turns.choose()
            if job is None and all(job.is_wanted for job in self._turns):
                self._changed.wait(self._seconds_to_wait())
            return job

    def _turn(self, job: Participant) -> None:
        """Make a segment, and see what became of it."""
        self._charge()
        self._stack.append(job)
        made = Errand(partial(job.step, partial(self._between_steps, job))).run()
        self._charge()
        self._stack.pop()
        error = made.exception()
        if error is not None and not isinstance(error, GivenUp):
            self._retire(job, JobState.FAILED, _sentence(error))
        elif not job.is_wanted:
            self._retire(job, JobState.CANCELLED)
        elif error is None and not made.result():
            self._retire(job, JobState.DONE)

    def _between_steps(self, job: Participant) -> None:
        """What may happen in the midst of a segment, whose session must not be touched."""
        self._charge()
        while not self._closing and job.is_wanted:
            self._run_errands(later=False)
            self._let_go()
            with self._changed:
                self._turns.settle(self._clock())
                other = self._turns.choose(self._stack, below=job)
            if other is None:
                return
            self._turn(other)
        raise GivenUp

    def _let_go(self) -> None:
        """Retire whoever is no longer wanted, or has had no room for too long."""
        now = self._clock()
        with self._changed:
            for job in self._turns:
                if job.paused_at is not None and now - job.paused_at > self.max_paused:
                    job.is_wanted = False
            unwanted = [job for job in self._turns if not job.is_wanted and job not in self._stack]
        for job in unwanted:
            self._retire(job, JobState.CANCELLED)

    def _seconds_to_wait(self) -> float | None:
        since = [job.paused_at for job in self._turns if job.paused_at is not None]
        return (
            None
            if not since or self.max_paused == float("inf")
            else min(since) + self.max_paused - self._clock() + 0.01
        )

    def _run_errands(self, *, later: bool = True) -> None:
        while errands := self._soon or (self._later if later else None):
            with self._changed:
                errand, self._is_away = errands.popleft(), True
            errand.run()
            self._mark, self._is_away = self._clock(), False
            self._sign = self._mark

    def _charge(self) -> None:
        """Charge what has gone by since the last look to the job that is being computed."""
        now = self._clock()
        if self._stack:
            self._stack[-1].spent += now - self._mark
        self._mark = self._sign = now

    def _retire(self, job: Participant, state: JobState, error: str = "") -> None:
        """Take a job out, and let it end."""
        with self._changed:
            if not self._turns.remove(job):
                return
        failure = Errand(partial(job.end, state, error)).run().exception()
        if failure is not None:
            log.error("what follows the end of a job failed", exc_info=failure)


def _sentence(error: BaseException) -> str:
    """What a job's visitor is told of an error; the rest goes to the log."""
    if isinstance(error, MaltError):
        return str(error)
    log.error("a job failed", exc_info=error)
    return f"the video could not be made ({type(error).__name__}); the server's log says more"
