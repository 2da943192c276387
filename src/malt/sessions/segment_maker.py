"""Makes the segments of a session: the next one, and once more, exactly, those that were made."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from malt.codecs.device import execution_device
from malt.errors import UsageError
from malt.rollouts.base import Rollout, Segment
from malt.rollouts.malt import MaltRollout
from malt.sessions.joint_advance import NextSegment
from malt.sessions.kept_memories import edit_all, is_cut_off
from malt.sessions.pipeline import SessionPipeline
from malt.sessions.session_state import SessionState, build
from malt.sessions.snapshots import Snapshot


class SegmentMaker:
    """Goes from one snapshot of a session's state to the next; the rollout of the last prompt is kept ready.

    on_step: called behind every denoising step; what it raises gives the segment up.
    """

    def __init__(self, pipe: SessionPipeline) -> None:
        self._pipe = pipe
        self.on_step: Callable[[], None] | None = None
        self._ready: tuple[str, Rollout] | None = None

    def make(
        self, state: SessionState, here: Snapshot, actions: Float[Tensor, "t a"] | None
    ) -> tuple[Segment, Snapshot]:
        """One segment from `here`; where the prompt changes, the tail is told again under the new one.

        Raises:
            MaltError: the model's output is not finite, or what was forgotten has changed the memory here.
        """
        segment, after = self.next(state, here, actions).make()
        return segment, Snapshot(after, prompt=state.prompts.at(here.start))

    def next(self, state: SessionState, here: Snapshot, actions: Float[Tensor, "t a"] | None) -> NextSegment:
        """How the segment from `here` is made."""
        here = edit_all(here, state.edits, state.kept)
        prompt = state.prompts.at(here.start)
        rollout = self.rollout(state, prompt)
        device = execution_device(self._pipe.transformer)
        progress = replace(here.to(device).progress, seed=state.seeds.at(here.start))
        if here.prompt not in (None, prompt):
            progress = rollout.rebuild_memory(progress)
        return NextSegment(rollout=rollout, state=progress, actions=actions)

    def make_again(self, state: SessionState, here: Snapshot) -> Iterator[Segment]:
        """All segments that once followed `here`."""
        while here.start < state.now.start:
            segment, here = self._again(state, here)
            yield segment

    def reach(self, state: SessionState, frame: int) -> Snapshot:
        """The last border at or before `frame` that was kept or can be made again.

        Raises:
            UsageError: `frame` has not been made yet, or lies within the frames that were given.
        """
        first = 0 if state.origin is None else state.origin.start
        if not first <= frame <= state.now.start:
            raise UsageError(f"asked to go back to frame {frame}; give one from {first} to {state.now.start}")
        here = max(reversed(self._starting_points(state, frame)), key=lambda snapshot: snapshot.start)
        while here.start + self._ahead(state, here) <= frame and not is_cut_off(here, state.edits, state.kept):
            here = self._again(state, here)[1]
        return here

    def take(self, prompt: str, rollout: Rollout) -> None:
        """Keep a rollout ready that was made for a prompt already."""
        self._ready = prompt, self._heard(rollout)

    def rollout(self, state: SessionState, prompt: str) -> Rollout:
        """The way in which a prompt becomes video."""
        if self._ready is None or self._ready[0] != prompt:
            self.take(prompt, build(state.rollout, self._pipe.rollout(prompt, **state.settings)))
        assert self._ready is not None
        return self._ready[1]

    def _heard(self, rollout: Rollout) -> Rollout:
        """The same rollout, between whose denoising steps `on_step` is called."""
        return replace(rollout, on_step_end=self._end_step) if isinstance(rollout, MaltRollout) else rollout

    def _end_step(self, index: int, timestep: Tensor, latents: Tensor) -> Tensor:
        if self.on_step is not None:
            self.on_step()
        return latents

    def _again(self, state: SessionState, here: Snapshot) -> tuple[Segment, Snapshot]:
        """The segment that once followed `here`."""
        done = state.actions
        actions = None if done is None else done[here.start : here.start + self._ahead(state, here)]
        return self.make(state, here, actions)

    def _ahead(self, state: SessionState, here: Snapshot) -> int:
        return self.rollout(state, state.prompts.at(here.start)).frames_ahead(here.progress)

    def _starting_points(self, state: SessionState, frame: int) -> list[Snapshot]:
        """Snapshots at or before `frame`, the first frames' or the beginning among them."""
        origin = state.origin or Snapshot(self.rollout(state, state.prompts.at(0)).begin(state.seeds.at(0)))
        return [origin, *(snapshot for snapshot in state.snapshots if snapshot.start <= frame)]
