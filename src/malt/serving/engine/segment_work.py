"""What is to be computed of a video as a value that can be sent elsewhere, and what computes it with a model."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor

from malt.codecs.device import execution_device
from malt.rollouts.base import RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from malt.sessions.pipeline import SessionSettings
from malt.sessions.serialization import map_tensors

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

MAX_ROLLOUTS = 64  # whose captions are kept ready
NOT_SENT = {"transformer", "codec", "on_step_end"}  # of a rollout


class WorkKind(StrEnum):
    """What is wanted: how a prompt becomes video, a segment, the segments of given frames, or a memory made again."""

    OPEN = "open"
    ADVANCE = "advance"
    PREFILL = "prefill"
    REBUILD = "rebuild"


@dataclass(frozen=True, kw_only=True)
class AskedVideo:
    """A video by its prompt and settings."""

    prompt: str
    settings: SessionSettings


@dataclass(frozen=True, kw_only=True)
class SegmentWork:
    """Work for one video, or for several in one pass: from where they stand, with frames or actions where these are given."""

    kind: WorkKind
    asked: tuple[AskedVideo, ...]
    state: RolloutState | None = None
    actions: Float[Tensor, "b t a"] | None = None
    frames: Float[Tensor, "b t 3 H W"] | None = None


class Executor(Protocol):
    """What does such work: a model here, a process beside, a machine elsewhere. Any thread may ask.

    num_places: pieces of work that are done at once. num_restarts: how often what computed was lost and begun anew.
    """

    @property
    def num_places(self) -> int: ...  # noqa: D102
    @property
    def num_restarts(self) -> int: ...  # noqa: D102
    @property
    def num_alive(self) -> int:
        """Of the places, how many can do work now."""
        ...

    def run(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        """Do a piece of work, all of it again elsewhere where what does it is lost.

        Args:
            work: a value.
            on_step: called behind every denoising step; what it raises gives the work up.

        Returns:
            OPEN: fields of a `RemoteRollout`. ADVANCE: the segment and the state after it. PREFILL: a list of such pairs.
            REBUILD: a state.
        """
        ...

    def close(self) -> None:
        """Let go of what computes."""
        ...


class ModelWork:
    """Does the work with a model that is loaded here."""

    def __init__(self, pipe: "VideoPipeline") -> None:
        self._pipe = pipe
        self._rollouts = OrderedDict[str, MaltRollout]()

    @torch.no_grad()
    def run(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        """As `Executor.run`; tensors come and go on the CPU."""
        rollouts = [self._rollout(asked) for asked in work.asked]
        if work.kind == WorkKind.OPEN:
            return _described(rollouts[0])

        def end_step(index: int, timestep: Tensor, latents: Tensor) -> Tensor:
            on_step()
            return latents

        joint = rollouts[0].joined(rollouts) if len(rollouts) > 1 else rollouts[0]
        rollout = replace(joint, on_step_end=end_step)
        device = execution_device(rollout.transformer)
        state = map_tensors(cast(RolloutState, work.state), lambda tensor: tensor.to(device))
        if work.kind == WorkKind.ADVANCE:
            return _sendable(*rollout.advance(state, work.actions))
        if work.kind == WorkKind.REBUILD:
            return map_tensors(rollout.rebuild_memory(state), Tensor.cpu)
        assert work.frames is not None
        return [_sendable(*each) for each in rollout.prefill(state, work.frames, work.actions)]

    def _rollout(self, asked: AskedVideo) -> MaltRollout:
        key = repr(asked)
        if key not in self._rollouts:
            self._rollouts[key] = self._pipe.rollout(asked.prompt, **asked.settings)
        self._rollouts.move_to_end(key)
        if len(self._rollouts) > MAX_ROLLOUTS:
            self._rollouts.popitem(last=False)
        return self._rollouts[key]


def _described(rollout: MaltRollout) -> dict[str, Any]:
    """What a `RemoteRollout` has of a rollout."""
    names = [each.name for each in fields(MaltRollout) if each.name not in NOT_SENT]
    captions = {"caption": rollout.caption.map(Tensor.cpu), "uncaptioned": rollout.uncaptioned.map(Tensor.cpu)}
    return {name: getattr(rollout, name) for name in names} | captions | {"can_join_there": rollout.can_join}


def _sendable(segment: Segment, after: RolloutState) -> tuple[Segment, RolloutState]:
    return map_tensors(segment, Tensor.cpu), map_tensors(after, Tensor.cpu)
