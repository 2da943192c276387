"""One model and the threads that compute with it, shared fairly by many sessions: each in turn, for about the same time.

A thread makes segments and does whatever else needs the model. Between any two denoising steps it hears that a job is no
longer wanted or that the worker closes, does what must not wait, and gives cheaper jobs their turn.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from malt.rollouts.base import ActionPolicy, Segment
from malt.serving.engine.computer import Computer
from malt.serving.engine.job import Job, JobState
from malt.serving.engine.participant import Participant
from malt.serving.engine.work_queue import BusyError, WorkQueue
from malt.sessions.session import Session

Value = TypeVar("Value")


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
        num_threads: int = 1,
        max_together: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads.

        Args:
            max_running: jobs that take turns.
            max_waiting: jobs that wait for their place.
            max_paused: seconds after which a job that has no room is cancelled.
            num_threads: threads that compute at once, each a segment of another session.
            max_together: jobs of one size whose segments are made in one pass. Above 1 a video is what it would be alone up
                to rounding only.
            clock: what turns are measured with.
        """
        self.max_running, self.max_waiting = max_running, max_waiting
        self._queue = WorkQueue(max_running, max_paused, clock, max_together)
        self._computers = [Computer(self._queue, number) for number in range(num_threads)]
        for computer in self._computers:
            computer.thread.start()

    @property
    def num_running(self) -> int:
        """How many jobs take turns or would, had they room."""
        return self._queue.turns.num_running + len(self._queue.turns.paused)

    @property
    def num_waiting(self) -> int:
        """How many jobs wait for their place."""
        return len(self._queue.turns.waiting)

    @property
    def silent_seconds(self) -> float:
        """For how long a thread has finished nothing, not even a denoising step, though it has something to do."""
        busy = [computer.silent_seconds for computer in self._computers if computer.is_busy]
        return max(busy) if busy else self._queue.silent_seconds

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
        job = Job(session, num_frames, on_segment, given=given, driver=driver, has_room=has_room, on_end=on_end)
        with self._queue.changed:
            self._check_room(keep)
            self._queue.turns.waiting.append(job)
            self._queue.changed.notify_all()
        return job

    def host(self, resident: Participant) -> None:
        """Give turns to one that takes nobody's place, as long as the worker runs; call `wake` when it has something to do."""
        with self._queue.changed:
            resident.state = JobState.RUNNING
            self._queue.turns.running.append(resident)

    def do(self, work: Callable[[], Value]) -> "Future[Value]":
        """Have something done with a session while no segment is in the making, such as `rewind` or `branch`.

        Raises:
            BusyError: the worker is closing.
        """
        return self._queue.give(work, soon=False)

    def do_soon(self, work: Callable[[], Value]) -> "Future[Value]":
        """Have something short done with the model, in the midst of a segment if need be, such as `Session.begin`.

        Raises:
            BusyError: the worker is closing.
        """
        return self._queue.give(work, soon=True)

    def cancel(self, job: Job) -> None:
        """End a job; a segment in the making is given up behind its next step. `job.wait` waits for the end."""
        with self._queue.changed:
            job.is_wanted = False
            self._queue.changed.notify_all()

    def wake(self) -> None:
        """Have the paused jobs asked again whether there is room."""
        with self._queue.changed:
            self._queue.changed.notify_all()

    def check_room(self) -> None:
        """Find out, before any work, whether a job would be taken.

        Raises:
            BusyError: it would not.
        """
        with self._queue.changed:
            self._check_room(keep=False)

    def close(self) -> None:
        """Give up the segment in the making, end all jobs as STOPPED and come to rest."""
        with self._queue.changed:
            self._queue.is_closing = True
            self._queue.changed.notify_all()
        for computer in self._computers:
            computer.thread.join()

    def _check_room(self, keep: bool) -> None:
        if self._queue.is_closing:
            raise BusyError("the server is shutting down; try again when it is back")
        if self.num_running + self.num_waiting >= self.max_running + self.max_waiting and not keep:
            raise BusyError(
                f"{self.num_running} videos are being made and {self.num_waiting} wait; try again in a while"
            )
