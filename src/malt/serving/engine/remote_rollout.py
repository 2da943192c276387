"""A rollout that computes nothing itself: what it is asked goes as a value to whatever computes, and comes back as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack, cast

import torch
from jaxtyping import Float
from torch import Tensor

from malt.rollouts.base import RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from malt.serving.engine.segment_work import AskedVideo, Executor, SegmentWork, WorkKind
from malt.sessions.pipeline import SessionSettings

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline


@dataclass(frozen=True, kw_only=True)
class RemoteRollout(MaltRollout):
    """A `MaltRollout` whose networks are elsewhere; those here say of what shape things are.

    asked: each video of the batch. executor: what computes. can_join_there: `can_join` of the rollout there.
    """

    asked: tuple[AskedVideo, ...]
    executor: Executor
    can_join_there: bool

    @property
    def can_join(self) -> bool:
        """Whether videos of several may be made in one pass."""
        return self.can_join_there

    def advance(
        self, state: RolloutState, actions: Float[Tensor, "b t a"] | None = None
    ) -> tuple[Segment, RolloutState]:
        """Make one segment, whole."""
        work = SegmentWork(kind=WorkKind.ADVANCE, asked=self.asked, state=state, actions=actions)
        return cast(tuple[Segment, RolloutState], self.executor.run(work, self._hear))

    def prefill(
        self, state: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as what has been made so far."""
        work = SegmentWork(kind=WorkKind.PREFILL, asked=self.asked, state=state, frames=frames, actions=actions)
        yield from self.executor.run(work, self._hear)

    def rebuild_memory(self, state: RolloutState) -> RolloutState:
        """The same video, its past seen under this rollout's caption."""
        work = SegmentWork(kind=WorkKind.REBUILD, asked=self.asked, state=state)
        return cast(RolloutState, self.executor.run(work, self._hear))

    def joined(self, rollouts: Sequence[MaltRollout]) -> "RemoteRollout":
        """The rollout of several videos in one pass."""
        asked = [each for rollout in rollouts if isinstance(rollout, RemoteRollout) for each in rollout.asked]
        joint = super().joined(rollouts)
        return replace(self, caption=joint.caption, uncaptioned=joint.uncaptioned, asked=tuple(asked))

    def _hear(self) -> None:
        if self.on_step_end is not None:
            nothing = torch.empty(0)
            self.on_step_end(0, nothing, nothing)


def compute_elsewhere(pipe: "VideoPipeline", executor: Executor) -> None:
    """Let what is made with a pipeline be computed by an executor from now on; its own networks are only looked at."""

    def rollout(prompt: str, **settings: Unpack[SessionSettings]) -> RemoteRollout:
        asked = (AskedVideo(prompt=prompt, settings=settings),)
        parts = executor.run(SegmentWork(kind=WorkKind.OPEN, asked=asked), lambda: None)
        return RemoteRollout(transformer=pipe.transformer, codec=pipe.codec, asked=asked, executor=executor, **parts)

    pipe.rollout = rollout  # type: ignore[method-assign, assignment]
