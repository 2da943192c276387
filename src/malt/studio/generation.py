"""How a take grows: one job on the worker at a time, how fast it goes, and why it ended."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from malt.errors import MaltError
from malt.rollouts.base import Segment
from malt.serving.engine.job import Job, JobState
from malt.serving.engine.worker import Worker
from malt.serving.streams import LEAD_SEGMENTS
from malt.studio.policy import StudioPolicy
from malt.studio.take import Take

STOP_SECONDS = 120.0


class GenerationJob:
    """What is being made for one visitor; `changed` is called, from any thread, whenever there is something new.

    goal: the frame at which it ends. head: the frame that is seen, and seen: the last that ever was. problem: why it broke
    off, a sentence, or "". followed: the latest turn of the wheel that the video follows, and from which frame on.
    is_cut_short: whether it ended because the studio did.
    """

    def __init__(self, worker: Worker, changed: Callable[[], None]) -> None:
        self.goal, self.head, self.seen, self.problem = 0, 0, 0, ""
        self.followed, self.is_cut_short = (0, 0), False
        self._is_restarting = False
        self._given: Iterator[Segment] = iter(())  # what is still to come of the frames that it begins with
        self._worker, self._changed = worker, changed
        self._job: Job | None = None
        self._pace: deque[tuple[float, int]] = deque(maxlen=8)  # (seconds, frames)

    @property
    def is_going(self) -> bool:
        """Whether a take is growing, or waits for its place."""
        return self._is_restarting or (self._job is not None and not self._job.is_over)

    @property
    def state(self) -> str:
        """resting, waiting or making."""
        if not self.is_going:
            return "resting"
        return "waiting" if self._job is not None and self._job.state == JobState.WAITING else "making"

    @property
    def rate(self) -> float:
        """Frames a second over the last few segments."""
        pace = tuple(self._pace)
        if not self.is_going or len(pace) < 2:
            return 0.0
        return (pace[-1][1] - pace[0][1]) / max(pace[-1][0] - pace[0][0], 1e-6)

    def start(self, take: Take, goal: int, policy: StudioPolicy | None, given: Iterable[Segment] = ()) -> None:
        """Let a take grow, by whole segments, until it has `goal` frames; `given` ones come first.

        Raises:
            BusyError: there is no room.
        """
        self.goal, self.problem, self.is_cut_short = goal, "", False
        self.head, self.seen = min(self.head, take.made), max(min(self.seen, take.made), take.first_border)
        self._pace.clear()
        self._pace.append((time.monotonic(), take.made))
        known, self._given = threading.Event(), iter(given)

        def add(segment: Segment) -> None:
            take.write(segment)
            if policy is not None and policy.done != self.followed[0]:
                self.followed = policy.done, segment.start
            self._pace.append((time.monotonic(), take.made))
            if take.made >= goal:
                known.wait()
                self._worker.cancel(job)
            self._changed()
            take.save_now_and_then()

        def has_room() -> bool:
            return policy is None or take.made - self.head < LEAD_SEGMENTS * take.session.frames_ahead

        def end(job: Job) -> None:
            if job.state in (JobState.FAILED, JobState.STOPPED):
                self.problem = job.error or "the studio was stopped"
            self.is_cut_short = job.state == JobState.STOPPED
            if not self._is_restarting:
                take.save()
            self._changed()

        job = self._job = self._worker.start(
            take.session, None, add, given=self._given, driver=policy, has_room=has_room, on_end=end
        )
        known.set()
        self._changed()

    def look(self, frame: int) -> None:
        """Say which frame is seen: what is steered waits for it."""
        self.head, self.seen = frame, max(self.seen, frame)
        self._worker.wake()

    def halt(self) -> None:
        """End it, giving up the segment in the making, and wait for that.

        Raises:
            MaltError: the segment does not end.
        """
        job = self._job
        if job is None or job.is_over:
            return
        self._worker.cancel(job)
        if not job.wait(STOP_SECONDS):
            raise MaltError("the segment in the making does not end; try again in a while")

    def restart(self, take: Take, policy: StudioPolicy) -> None:
        """Have what is made from here on follow the wheel as it is held now: what nobody has seen is made anew.

        Raises:
            MaltError: the segment in the making does not end.
        """
        self._is_restarting = True
        try:
            self.halt()
            border = max(take.border_behind(self.seen), take.first_border)  # what was given is not made anew
            if border < take.made:
                self._worker.do(lambda: take.cut(border)).result()
            if take.made < self.goal:
                self.start(take, self.goal, policy, self._given)
        finally:
            self._is_restarting = False
            self._changed()
