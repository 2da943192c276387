"""Whose turn it is: the job for which least time was computed, so that a dear one waits for many cheap ones.

Jobs that have no room give up their place to those who wait, and come back before them once there is room.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence

from malt.serving.engine.job import JobState
from malt.serving.engine.participant import Participant


class Turns:
    """The jobs of a worker, which holds its lock around every call.

    running: those that take turns, whoever had the last one at the end. paused: those that gave up their place. waiting:
    those that have not begun.
    """

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self.running, self.paused, self.waiting = list[Participant](), deque[Participant](), deque[Participant]()
        self._clock = 0.0  # seconds that the job whose turn it was last had been computed for: where newcomers begin

    def __iter__(self) -> Iterator[Participant]:
        return iter([*self.running, *self.paused, *self.waiting])

    @property
    def num_running(self) -> int:
        """How many places are taken by those who take turns."""
        return sum(not job.is_resident for job in self.running)

    def remove(self, job: Participant) -> bool:
        """Take a job out; whether it was there."""
        for place in (self.running, self.paused, self.waiting):
            if job in place:
                place.remove(job)
                return True
        return False

    def settle(self, now: float) -> None:
        """See who has room at a moment, and let in who can be let in; newcomers come before those who had a turn."""
        self._look(now)
        while self._let_in():
            self._look(now)

    def choose(
        self, busy: Collection[Participant] = (), below: Sequence[Participant] = (), most: int = 1
    ) -> list[Participant]:
        """Whose turn it is, put behind the others; empty where nobody can have one.

        Args:
            busy: those whose segments are in the making.
            below: some of them, in the midst of whose pass there is time for a cheaper segment of one that had less time.
            most: how many may have their turn in one pass.
        """
        ready = [job for job in self.running if job.is_ready and job not in busy]
        if below:
            cost, spent = sum(job.segment_cost for job in below), min(job.spent for job in below)
            ready = [job for job in ready if job.segment_cost < cost and job.spent < spent]
        if not ready:
            return []
        job = min(ready, key=lambda job: job.spent)
        self._clock = max(self._clock, job.spent)
        chosen = [job, *(self._companions(job, ready)[: most - 1])]
        self.running = [job for job in self.running if job not in chosen] + chosen
        return chosen

    def _companions(self, job: Participant, ready: Sequence[Participant]) -> list[Participant]:
        """Who may have a turn in one pass with a job, whoever had least time first."""
        if not job.can_join:
            return []
        alike = [other for other in ready if other is not job and other.can_join and other.is_wanted]
        return sorted((o for o in alike if o.segment_cost == job.segment_cost), key=lambda other: other.spent)

    def _look(self, now: float) -> None:
        for job in self:
            is_ready = not job.is_wanted or job.has_room()
            if is_ready and not job.is_ready:
                job.spent = max(job.spent, self._clock)
            job.is_ready = is_ready
            job.paused_at = None if is_ready or job.is_resident or job in self.waiting else (job.paused_at or now)

    def _let_in(self) -> bool:
        """Give the places of those without room to others; whether there were any."""
        if not self.waiting and not any(job.is_ready for job in self.paused):
            return False
        self.paused.extend(job for job in self.running if not job.is_ready and not job.is_resident)
        self.running = [job for job in self.running if job.is_ready or job.is_resident]
        others = [job for job in self.paused if job.is_ready] + list(self.waiting)
        newcomers = others[: max(0, self._max_running - self.num_running)]
        for job in newcomers:
            self.remove(job)
            job.state = JobState.RUNNING
        self.running = newcomers + self.running
        return bool(newcomers)
