"""Worlds that go on together: steps that came while others were computed go through the next forward pass as one batch."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from malt.env.model_simulator import ModelSimulator
from malt.env.simulated_session import SimulatedSession, Stepped, step_by_frame, step_together
from malt.serving.engine.errand import Errand
from malt.serving.engine.job import GivenUp, JobState
from malt.serving.engine.work_queue import BusyError
from malt.serving.engine.worker import Worker
from malt.serving.refusals import NotReadyError

Frames = UInt8[np.ndarray, "t h w 3"]


@dataclass(eq=False)
class ServedWorld:
    """A world of the server: where it stands, a value that steps replace, and what is said of it."""

    id: str
    session: SimulatedSession
    seed: int
    by_frame: bool
    created_at: float
    used_at: float
    parent: str | None = None


@dataclass(frozen=True, eq=False)
class WorldStep:
    """A step that is wanted of a world, and what comes of it: the number of its first frame, and the frames."""

    world: ServedWorld
    actions: Float[Tensor, "1 t a"] | None
    prompt: str | None = None
    made: Future[tuple[int, Frames]] = field(default_factory=Future)


class WorldSteps:
    """The steps that wait, and their turns on the computing thread: together they are one of those who take turns.

    Each pass has at most one step of a world, whoever waited longest first.
    """

    is_resident, can_join = True, False

    def __init__(self, worker: Worker, simulator: ModelSimulator, most_together: int, most_waiting: int) -> None:
        self.state, self.is_wanted, self.is_ready = JobState.WAITING, True, False
        self.spent = 0.0
        self.paused_at: float | None = None
        self.num_steps, self.num_passes = 0, 0
        self._worker, self._simulator = worker, simulator
        self._most_together, self._most_waiting = most_together, most_waiting
        self._waiting: list[WorldStep] = []
        self._lock = threading.Lock()
        worker.host(self)

    def add(self, step: WorldStep) -> None:
        """Let a step wait for the next pass.

        Raises:
            BusyError: too many steps of its world wait, or the server is closing.
        """
        with self._lock:
            if self.state == JobState.STOPPED:
                raise BusyError("the server is shutting down; try again when it is back")
            if sum(each.world is step.world for each in self._waiting) >= self._most_waiting:
                raise BusyError(f"{self._most_waiting} steps of this world wait already; wait for their answers")
            self._waiting.append(step)
        self._worker.wake()

    @property
    def num_waiting(self) -> int:
        """How many steps wait, those in the making included."""
        return len(self._waiting)

    @property
    def segment_cost(self) -> int:
        """That of a segment of every world that is next."""
        height, width = self._simulator.frame_size
        steps = self._simulator.num_steps
        return height * width * steps * max(1, len(self._next()))

    def has_room(self) -> bool:
        """Whether a step waits."""
        return bool(self._waiting)

    def step(self, between: Callable[[], None]) -> bool:
        """Make the steps that are next. On the computing thread."""
        chosen = self._next()
        try:
            for by_frame in (False, True):
                self._make([each for each in chosen if each.world.by_frame == by_frame], by_frame, between)
        finally:  # those that were given up are still to be made
            with self._lock:
                self._waiting = [each for each in self._waiting if not each.made.done()]
        return True

    def end(self, state: JobState, error: str) -> None:
        """Tell those who wait. On the computing thread."""
        with self._lock:
            self.state, waiting, self._waiting = state, self._waiting, []
        for each in waiting:
            each.made.set_exception(BusyError("the server is shutting down; try again when it is back"))

    def _next(self) -> list[WorldStep]:
        with self._lock:
            first = {each.world.id: each for each in reversed(self._waiting)}
            return [each for each in self._waiting if first[each.world.id] is each][: self._most_together]

    def _make(self, steps: Sequence[WorldStep], by_frame: bool, between: Callable[[], None]) -> None:
        """Make steps in one pass; where it fails, each alone, so that nobody's fault is another's."""
        if not steps:
            return
        made = Errand(lambda: self._together(steps, by_frame, between)).run()
        error = made.exception()
        if isinstance(error, GivenUp):
            raise error
        if error is None:
            for step, (before, stepped) in zip(steps, made.result(), strict=True):
                _settle(step, before, stepped)
            self.num_passes, self.num_steps = self.num_passes + 1, self.num_steps + len(steps)
        elif len(steps) == 1:
            steps[0].made.set_exception(error)
        else:
            for step in steps:
                self._make([step], by_frame, between)

    def _together(
        self, steps: Sequence[WorldStep], by_frame: bool, between: Callable[[], None]
    ) -> list[tuple[SimulatedSession, Stepped]]:
        before = [step.world.session for step in steps]
        begun = [self._prompted(session, step.prompt) for session, step in zip(before, steps, strict=True)]
        given = [step.actions for step in steps if step.actions is not None]
        actions = torch.cat(given) if given else None
        if by_frame and actions is not None:
            stepped = step_by_frame(self._simulator, begun, actions[:, 0], between)
        else:
            stepped = step_together(self._simulator, begun, actions, between)
        return list(zip(before, stepped, strict=True))

    def _prompted(self, session: SimulatedSession, prompt: str | None) -> SimulatedSession:
        if prompt is None or prompt == session.prompt:
            return session
        progress = self._simulator.prompted(session.progress, prompt)
        return replace(session, progress=progress, prompt=prompt, foreseen=None)


def _settle(step: WorldStep, before: SimulatedSession, stepped: Stepped) -> None:
    """Let the world stand where the step leads, unless it was set elsewhere meanwhile."""
    frames, after = stepped
    if step.world.session is not before:
        step.made.set_exception(NotReadyError("the world was restored while it stepped; step once more"))
        return
    step.world.session = after
    step.made.set_result((after.num_frames - len(frames), frames))
