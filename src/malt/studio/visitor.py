"""A visit: what one visitor has made, what is being made for them, and everything that they may do with it."""

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malt.errors import UsageError
from malt.media.pixels import to_tensor
from malt.rollouts.base import Segment
from malt.serving.engine.worker import Worker
from malt.serving.limits import Limits
from malt.serving.moments import MemoryChange
from malt.sessions.run_report import resident_bytes
from malt.sessions.session import Session
from malt.studio.generation import GenerationJob
from malt.studio.models import Model
from malt.studio.policy import StudioPolicy
from malt.studio.take import Take

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

MOST_TAKES = 8


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """A new video: `num_frames` more frames (None: until it is stopped), settings of the session, and its first frames."""

    prompt: str
    num_frames: int | None
    seed: int = 0
    rollout: str = "malt"
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    first: np.ndarray | None = None


class Visitor:
    """One visitor's takes, of which one grows at a time.

    Everything public may be called from any thread. What a visitor asks for is done in its order; nothing here is seen by
    another visitor, who does not know the `key`.
    """

    def __init__(self, worker: Worker, limits: Limits, folder: Path, *, scale: int | None = None) -> None:
        self.key, self.folder = secrets.token_urlsafe(18), folder
        self.takes: dict[int, Take] = {}
        self.current: int | None = None
        self.problem = ""  # what the page asked for in vain
        self.watchers = 0
        self.seen = time.monotonic()
        self._worker, self._limits, self._scale = worker, limits, scale
        self._order = threading.RLock()  # one request after the other; never held by the computing thread
        self._listeners: list[Callable[[], None]] = []
        self.job = GenerationJob(worker, self.notify)
        self._policies: dict[int, StudioPolicy] = {}
        self._number = 0
        self._is_over = False

    @property
    def take(self) -> Take:
        """The take that is worked on.

        Raises:
            UsageError: there is none.
        """
        take = self.takes.get(self.current or 0)
        if take is None:
            raise UsageError("there is no video yet; write a prompt and make one")
        return take

    def begin(self, model: Model, settings: GenerationSettings) -> None:
        """Begin a take and let it grow.

        Raises:
            BusyError: there is no room.
            UsageError: the model cannot make it, or there are too many takes.
        """
        with self._order:
            self.problem = ""
            self._check(settings.num_frames)
            self._limits.check_prompt(settings.prompt)
            self._limits.check_steps(settings.num_inference_steps)
            self._worker.check_room()
            session = self._worker.do_soon(lambda: _session(model.pipe, settings)).result()
            self.job.halt()
            take = Take(self._next(), session, self._place(), model=model.name, scale=self._scale)
            take.notes(settings.seed, model.place)
            if model.pipe.action_names:
                self._policies[take.number] = StudioPolicy(model.pipe.action_names)
            self._add(take)
            self._grow(take, settings.num_frames, settings.first)

    def go_on(self, prompt: str, num_frames: int | None) -> None:
        """Show this prompt from the next segment on; a take at rest goes on for so many frames.

        Raises:
            BusyError: there is no room.
            UsageError: there is no take, or the prompt does not fit.
        """
        with self._order:
            take = self.take
            self._limits.check_prompt(prompt)
            if prompt.strip() and prompt != take.session.prompt:
                take.session.set_prompt(prompt)
            if not self.job.is_going:
                self._check(num_frames, take.made)
                self._grow(take, num_frames)
            self.notify()

    def stop(self) -> None:
        """End the take's growth behind the segment in the making."""
        with self._order:
            self.job.halt()

    def rewind(self, frame: int) -> int:
        """Take the take back to the border at `frame`, or the last before it; give the border's frame.

        Raises:
            UsageError: there is no such frame.
        """
        with self._order:
            take = self.take
            self.job.halt()
            self._worker.do(lambda: take.cut(frame)).result()
            self.job.head = take.made
            self.notify()
            return take.made

    def branch(self, frame: int, seed: int, prompt: str, num_frames: int | None) -> None:
        """Begin another take with this one's video up to `frame`, and let it go on into another future.

        Raises:
            BusyError: there is no room.
            UsageError: there is no such frame, or there are too many takes.
        """
        with self._order:
            take = self.take
            self._check(num_frames, frame)
            self._limits.check_prompt(prompt)
            self.job.halt()
            self._worker.check_room()
            number, place = self._next(), self._place()
            other = self._worker.do(lambda: take.branch(number, place, frame, seed)).result()
            if take.number in self._policies:
                self._policies[number] = StudioPolicy(take.session.pipe.action_names)
            self._add(other)
            self.go_on(prompt, num_frames)

    def change_memory(self, asked: MemoryChange) -> None:
        """Keep, recall or forget a moment of the take before its next segment.

        Raises:
            UsageError: there is no take, no such name, or it cannot be kept.
        """
        with self._order:
            take = self.take
            self._worker.do(lambda: take.change_memory(asked)).result()
            self.notify()

    def choose(self, number: int) -> None:
        """Work on another take; one that grows is stopped first.

        Raises:
            UsageError: there is no such take.
        """
        with self._order:
            if number not in self.takes:
                raise UsageError(f"there is no take {number}")
            if number != self.current:
                self.job.halt()
                self.current = number
            self.notify()

    def drop(self, number: int) -> None:
        """Delete a take."""
        with self._order:
            if number == self.current:
                self.job.halt()
            take = self.takes.pop(number, None)
            self._policies.pop(number, None)
            if take is not None:
                take.remove()
            if number == self.current:
                self.current = max(self.takes, default=None)
            self.notify()

    def steer(self, steering: float, throttle: float) -> None:
        """Set the actions of the take that is worked on; for models that take no actions, nothing."""
        if policy := self._policies.get(self.current or 0):
            policy.turn(steering, throttle)

    def leave(self) -> None:
        """Free all that the visitor held."""
        with self._order:
            self._is_over = True
            self.job.halt()
            for number in list(self.takes):
                self.takes.pop(number).remove()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.notify()

    @property
    def is_over(self) -> bool:
        """Whether the visitor has left for good."""
        return self._is_over

    def watch(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from any thread, whenever the scene changes."""
        self._listeners.append(listener)
        self.watchers += 1
        self.seen = time.monotonic()

    def unwatch(self, listener: Callable[[], None]) -> None:
        """The opposite of `watch`."""
        self._listeners.remove(listener)
        self.watchers -= 1
        self.seen = time.monotonic()

    def notify(self) -> None:
        """Tell all who watch that the scene has changed."""
        for listener in tuple(self._listeners):
            listener()

    def scene(self) -> dict[str, object]:
        """All that the page shows, as JSON."""
        job = self.job
        return {
            "takes": [take.describe() for take in tuple(self.takes.values())],
            "current": self.current,
            "state": job.state,
            "goal": job.goal if job.is_going else None,
            "rate": job.rate,
            "resident": resident_bytes(),
            "acts": self.current in self._policies,
            "problem": self.problem or job.problem,
        }

    def _check(self, num_frames: int | None, made: int = 0) -> None:
        if self._is_over:
            raise UsageError("this visit has ended; load the page again")
        if num_frames is not None:
            self._limits.check_frames(made + num_frames, self._limits.frames)
        elif made >= self._limits.frames:
            raise UsageError(f"this video has {made} frames, as many as this studio makes; begin another")

    def _next(self) -> int:
        if len(self.takes) >= MOST_TAKES:
            raise UsageError(f"there are {MOST_TAKES} takes, as many as there may be; delete one")
        self._number += 1
        return self._number

    def _place(self) -> Path:
        folder = self.folder / f"take-{self._number}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "video.mp4"

    def _add(self, take: Take) -> None:
        take.session.max_kept_bytes = self._limits.kept_bytes
        self.takes[take.number] = take
        self.current = take.number
        self.notify()

    def _grow(self, take: Take, num_frames: int | None, first: np.ndarray | None = None) -> None:
        most, given = self._limits.frames, () if first is None else _absorb(take.session, first)
        more = most if num_frames is None else num_frames + (0 if first is None else len(first))
        self.job.start(take, min(most, take.made + more), self._policies.get(take.number), given)


def _session(pipe: "VideoPipeline", settings: GenerationSettings) -> Session:
    return Session.begin(
        pipe,
        settings.prompt if settings.prompt.strip() or not pipe.action_names else "",
        seed=settings.seed,
        rollout=settings.rollout,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
    )


def _absorb(session: Session, first: np.ndarray) -> Iterator[Segment]:
    """The segments that given frames become, one by one."""
    given = to_tensor(first)
    names = session.pipe.action_names
    yield from session.prefill(given, given.new_zeros(len(given), len(names)) if names else None)
