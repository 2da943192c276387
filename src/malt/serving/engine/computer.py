"""A thread that computes: it makes segments of whose turn it is, and hears between any two steps what must not wait."""

import logging
import threading
from collections.abc import Sequence
from functools import partial

from malt.errors import MaltError
from malt.serving.engine.errand import Errand
from malt.serving.engine.job import GivenUp, JobState
from malt.serving.engine.joint_turn import step_together
from malt.serving.engine.participant import Participant
from malt.serving.engine.work_queue import Task, WorkQueue

log = logging.getLogger(__name__)


class Computer:
    """One of the threads that share a queue, from its start until the queue closes."""

    def __init__(self, queue: WorkQueue, number: int) -> None:
        self._queue = queue
        self._stack = list[Sequence[Participant]]()  # whose passes are begun, each between two steps of the one before
        self._is_away = False  # on an errand
        self._mark = self._sign = queue.clock()
        self.thread = threading.Thread(target=self._run, name=f"malt-computer-{number}", daemon=True)
        queue.threads.add(self.thread)

    @property
    def is_busy(self) -> bool:
        """Whether it has something to do."""
        return bool(self._stack or self._is_away)

    @property
    def silent_seconds(self) -> float:
        """For how long it has finished nothing, not even a denoising step."""
        return self._queue.clock() - self._sign

    def _run(self) -> None:
        while self._do_next():
            pass
        self._queue.leave(self.thread)

    def _do_next(self) -> bool:
        task = self._queue.next()
        if task is not None:
            self._do(task)
        return task is not None

    def _do(self, task: Task) -> None:
        if isinstance(task, Errand):
            self._sign, self._is_away = max(self._mark, task.since), True
            task.run()
            self._mark, self._is_away = self._queue.clock(), False
            self._sign = self._mark
        else:
            self._turn(task)
        self._queue.is_over(task)

    def _turn(self, jobs: Sequence[Participant]) -> None:
        """Make a segment of each, and see what became of it; each alone where they cannot be made together."""
        self._charge()
        self._stack.append(jobs)
        made = Errand(partial(step_together, jobs, partial(self._between_steps, jobs))).run()
        self._charge()
        self._stack.pop()
        error = made.exception()
        if error is not None and len(jobs) > 1 and not isinstance(error, GivenUp):
            for job in jobs:
                self._turn([job])
            return
        for number, job in enumerate(jobs):
            self._settle(job, error, error is None and made.result()[number])

    def _settle(self, job: Participant, error: BaseException | None, goes_on: bool) -> None:
        if error is not None and not isinstance(error, GivenUp):
            self._queue.retire(job, JobState.FAILED, _sentence(error))
        elif not job.is_wanted:
            self._queue.retire(job, JobState.CANCELLED)
        elif error is None and not goes_on:
            self._queue.retire(job, JobState.DONE)

    def _between_steps(self, jobs: Sequence[Participant]) -> None:
        """What may happen in the midst of a pass, whose sessions must not be touched."""
        self._charge()
        while not self._queue.is_closing and all(job.is_wanted for job in jobs):
            task = self._queue.next_between(jobs)
            if task is None:
                return
            self._do(task)
        raise GivenUp

    def _charge(self) -> None:
        """Charge what has gone by since the last look to those who are being computed."""
        now = self._queue.clock()
        for job in self._stack[-1] if self._stack else ():
            job.spent += (now - self._mark) / len(self._stack[-1])
        self._mark = self._sign = now


def _sentence(error: BaseException) -> str:
    """What a job's visitor is told of an error; the rest goes to the log."""
    if isinstance(error, MaltError):
        return str(error)
    log.error("a job failed", exc_info=error)
    return f"the video could not be made ({type(error).__name__}); the server's log says more"
