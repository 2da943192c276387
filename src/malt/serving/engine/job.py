"""A session on its way to a number of frames, as a worker makes it: segment by segment, given up between two steps."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import StrEnum

from malt.rollouts.base import ActionPolicy, RolloutState, Segment
from malt.sessions.joint_advance import NextSegment
from malt.sessions.session import Session


class GivenUp(Exception):  # noqa: N818 -- nothing is wrong
    """Ends a segment in the making, from between two of its denoising steps."""


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
    segment_cost: what a segment costs, by which cheap ones are told from dear ones. spent: seconds that were computed for
    it, by which turns are dealt out. paused_at: since when it has had no room; None where it has.
    """

    is_resident = False

    def __init__(
        self,
        session: Session,
        num_frames: int | None = None,
        on_segment: Callable[[Segment], None] = lambda segment: None,
        *,
        given: Iterable[Segment] = (),
        driver: ActionPolicy | None = None,
        has_room: Callable[[], bool] = lambda: True,
        on_end: Callable[["Job"], None] = lambda job: None,
    ) -> None:
        self.num_frames, self.has_room = num_frames, has_room
        self.state, self.error, self.frames_made = JobState.WAITING, "", session.num_frames
        self.segment_cost, self.spent = segment_cost(session), 0.0
        self.is_wanted, self.is_ready = True, False
        self.paused_at: float | None = None
        self._session: Session | None = session
        self._given, self._driver = iter(given), driver
        self._last: Segment | None = None
        self._on_segment, self._on_end = on_segment, on_end
        self._ended = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over and `on_end` has been called; whether it is."""
        return self._ended.wait(timeout)

    def step(self, between: Callable[[], None]) -> bool:
        """Make and hand on a segment, cut to the job's length; whether there was one. On the computing thread.

        Args:
            between: called between denoising steps; may raise `GivenUp`.
        """
        if self._session is None or not self.is_wanted:
            return False
        self._session.hear(between)
        segment = next(self._given, None)
        if segment is not None:
            self._hand_on(segment)
        elif (upcoming := self.upcoming()) is None:
            return False
        else:
            self.accept(upcoming, *upcoming.make())
        return True

    @property
    def can_join(self) -> bool:
        """Whether its next segment may be made in one pass with others': whether it is not the first."""
        return self._last is not None

    def upcoming(self) -> NextSegment | None:
        """How its next segment is made; None behind the last."""
        session = self._session
        if session is None or (self.num_frames is not None and session.num_frames >= self.num_frames):
            return None
        driver = self._driver
        return session.next_segment(None if driver is None else driver(self._last, session.frames_ahead)[0])

    def accept(self, upcoming: NextSegment, segment: Segment, after: RolloutState) -> None:
        """Go on behind a segment that was made, and hand it on."""
        if self._session is not None:
            self._session.take(upcoming, after)
            self._last = segment
            self._hand_on(segment)

    def _hand_on(self, segment: Segment) -> None:
        if self.num_frames is not None:
            segment = replace(segment, frames=segment.frames[:, : self.num_frames - segment.start])
        self.frames_made = segment.start + segment.frames.shape[1]
        self._on_segment(segment)

    def end(self, state: JobState, error: str) -> None:
        """Let go of everything and say so. On the computing thread."""
        if self._session is not None:
            self._session.hear(None)
        self.state, self.error, self._session, self._last = state, error, None, None
        self._given, self._driver = iter(()), None
        on_end, self._on_end, self._on_segment, self.has_room = self._on_end, _ignore, _ignore, lambda: True
        try:
            on_end(self)
        finally:
            self._ended.set()


def segment_cost(session: Session) -> int:
    """What a segment of a session costs: pixels of a frame times denoising steps."""
    settings = session.state.settings
    return settings["height"] * settings["width"] * settings["num_inference_steps"]


def _ignore(what: object) -> None:
    """What a job that is over does with anything."""
