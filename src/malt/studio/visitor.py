"""A visit: what one visitor has made, what is being made for them, and everything that they may do with it."""

import shutil
import threading
from pathlib import Path

from malt.errors import UsageError
from malt.serving.engine.worker import Worker
from malt.serving.limits import Limits
from malt.serving.moments import MemoryChange
from malt.studio.beginning import GenerationSettings, absorb, begin_session, num_given
from malt.studio.generation import GenerationJob
from malt.studio.history import DropStep, FutureStep, History
from malt.studio.listeners import Listeners
from malt.studio.maze_walk import NOTE
from malt.studio.models import Model, Models
from malt.studio.take import Take
from malt.studio.take_store import TakeStore
from malt.studio.visit_record import VisitRecord, read_record
from malt.wording import counted


class Visitor:
    """One visitor's takes, of which one grows at a time.

    Everything public may be called from any thread. What a visitor asks for is done in its order; nothing here is seen by
    another visitor, who does not know the key. What is made is on the disk, and a later studio takes it up with `restore`.
    """

    def __init__(self, worker: Worker, limits: Limits, folder: Path, *, scale: int | None = None) -> None:
        self.folder, self.store = folder, TakeStore(folder, limits.kept_bytes)
        self.problem = ""  # what was found wrong while nobody asked for anything
        self.history, self.listeners = History(), Listeners()
        self._worker, self._limits, self._scale = worker, limits, scale
        self._order = threading.RLock()  # one request after the other; never held by the computing thread
        self.job = GenerationJob(worker, self._tell)
        self._hurried = -1  # where the take stood when the wheel was last followed at once
        self._is_over = self._is_restored = False
        self._restoring = threading.Lock()

    def restore(self, models: Models) -> None:
        """Take up, once, what an earlier studio kept of this visit, and go on where it was cut short.

        Raises:
            BusyError: there is no room to go on.
        """
        with self._restoring:
            if self._is_restored:
                return
            self._is_restored = True
            record = read_record(self.folder)
            if record is not None:
                self._take_up(record, models)

    @property
    def take(self) -> Take:
        """The take that is worked on.

        Raises:
            UsageError: there is none.
        """
        take = self.store.take
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
            self._check(settings.num_frames)
            self._limits.check_prompt(settings.prompt)
            self._limits.check_steps(settings.num_inference_steps)
            self._worker.check_room()
            session = self._worker.do_soon(lambda: begin_session(model.pipe, settings)).result()
            self.job.halt()
            self.job.head = self.job.seen = 0
            number, path = self.store.new_place()
            take = Take(number, session, path, model=model.name, scale=self._scale)
            take.text = settings.prompt
            noted = {"precision": model.pipe.precision} | ({} if settings.maze is None else {NOTE: settings.maze})
            take.notes(settings.seed, model.place, **noted)
            self.store.add(take)
            self._grow(take, settings.num_frames, settings)

    def go_on(self, prompt: str, num_frames: int | None) -> None:
        """Show this prompt, if it is another, from the next segment on; a take at rest goes on for so many frames.

        Raises:
            BusyError: there is no room.
            UsageError: there is no take, or the prompt does not fit.
        """
        with self._order:
            take = self.take
            self._limits.check_prompt(prompt)
            if not self.job.is_going:
                self._check(num_frames, take.made)
            if prompt.strip() and prompt != take.text:
                take.session.set_prompt(prompt)
                take.text = prompt
            if not self.job.is_going:
                self._grow(take, num_frames)
            self.notify()

    def stop(self) -> None:
        """End the take's growth; the segment in the making is given up."""
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
            future = self._worker.do(lambda: take.rewind(frame)).result()
            self.history.add(FutureStep(f"rewind to {take.made / take.frame_rate:.1f} s", take, future))
            self._changed()
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
            number, path = self.store.new_place()
            other = self._worker.do(lambda: take.branch(number, path, frame, seed)).result()
            other.text = take.text
            self.job.head = self.job.seen = other.made
            self.store.add(other)
            self.go_on(prompt, num_frames)

    def change_memory(self, asked: MemoryChange) -> None:
        """Keep, recall or forget a moment of the take before its next segment.

        Raises:
            UsageError: there is no take, no such name, or it cannot be kept.
        """
        with self._order:
            take = self.take
            future = self._worker.do(lambda: take.change_memory(asked)).result()
            step = FutureStep(f"{asked.change} {asked.name}", take, future)
            self.history.add(step)
            self._changed()

    def undo(self, *, again: bool = False) -> None:
        """Undo what was done last, or do `again` what was undone last.

        Raises:
            UsageError: there is nothing.
        """
        with self._order:
            self.job.halt()
            move = self.history.redo if again else self.history.undo
            if not self._worker.do(move).result():
                raise UsageError("there is nothing to do again" if again else "there is nothing to undo")
            self._changed()

    def choose(self, number: int) -> None:
        """Work on another take; one that grows is stopped first.

        Raises:
            UsageError: there is no such take.
        """
        with self._order:
            if number not in self.store.takes:
                raise UsageError(f"there is no take {number}")
            if number != self.store.current:
                self.job.halt()
                self.store.current = number
                self.job.head = self.job.seen = self.take.made
            self._changed()

    def drop(self, number: int) -> None:
        """Put a take away; `undo` brings it back."""
        with self._order:
            take = self.store.takes.get(number)
            if take is None:
                return
            if number == self.store.current:
                self.job.halt()
            step = DropStep(take, self.store.takes, self.store.settle)
            step.swap()
            self.history.add(step)
            self._changed()

    def steer(self, steering: float, throttle: float, number: int = 0) -> None:
        """Turn the wheel of the take that is worked on; for models that take no actions, nothing.

        What is in the making or was never seen is made anew, so that the wheel is soon followed; but once a segment, as a
        hand that is never still would keep it from ever being made.
        """
        policy = self.store.policy
        if policy is None:
            return
        policy.turn(steering, throttle, number)
        with self._order:
            take = self.take
            if self.job.is_going and take.made != self._hurried and not self._worker.num_waiting:
                self.job.restart(take, policy)
                self._hurried = take.made

    def leave(self) -> None:
        """Let go of all that the visitor holds; what was made stays on the disk."""
        with self._order:
            self._is_over = True
            self.job.halt()
            self.history.clear()
            for take in self.store.takes.values():
                take.close()
            if self.store.is_empty:
                shutil.rmtree(self.folder, ignore_errors=True)
            self.notify()

    @property
    def is_over(self) -> bool:
        """Whether the visitor has left."""
        return self._is_over

    def notify(self) -> None:
        """Tell all who watch that the scene has changed."""
        self.listeners.notify()

    def _take_up(self, record: VisitRecord, models: Models) -> None:
        with self._order:
            self.problem = "; ".join(self.store.restore(record, models, self._worker))
            self.store.keep(None)  # without a goal: one that ends the studio is not tried for ever
            take = self.store.take
            if take is not None and record.goal is not None and take.made < record.goal:
                self.job.head = self.job.seen = take.made
                self.job.start(take, record.goal, self.store.policy)

    def _tell(self) -> None:
        """What the job calls, also on the computing thread."""
        if not self.job.is_going and not self._is_over:
            self.store.keep(self.job.goal if self.job.is_cut_short else None)
        self.notify()

    def _changed(self) -> None:
        """Take up what was done."""
        take = self.store.take
        if take is not None:
            self.job.head, self.job.seen = min(self.job.head, take.made), min(self.job.seen, take.made)
        self.job.problem = self.problem = ""
        self.store.keep(self.job.goal if self.job.is_going else None)
        self.notify()

    def _check(self, num_frames: int | None, made: int = 0) -> None:
        if self._is_over:
            raise UsageError("this visit has ended; load the page again")
        if num_frames is not None:
            self._limits.check_frames(made + num_frames, self._limits.frames)
        elif made >= self._limits.frames:
            raise UsageError(f"this video has {counted(made, 'frame')}, as many as this studio makes; begin another")

    def _grow(self, take: Take, num_frames: int | None, begun: GenerationSettings | None = None) -> None:
        most, given = self._limits.frames, () if begun is None else absorb(take.session, begun)
        more = most if num_frames is None else num_frames + (0 if begun is None else num_given(begun))
        self.problem = ""
        self.job.start(take, min(most, take.made + more), self.store.policies.get(take.number), given)
        self.store.keep(self.job.goal)
