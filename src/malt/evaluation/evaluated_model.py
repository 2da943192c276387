"""What is measured: one model making video in one way, asked for segments, never how it makes them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from malt.memory.state import Memory, select
from malt.pipelines.video_pipeline import VideoPipeline
from malt.rollouts.base import ActionPolicy, Rollout, RolloutState, Segment
from malt.rollouts.full import FullRollout
from malt.rollouts.registry import build_rollout

MemoryUse = Literal["kept", "emptied", "swapped"]
Span = tuple[int, int]  # first frame, frame after the last


@dataclass(frozen=True, kw_only=True)
class Request:
    """Videos to be made, one a caption.

    first: true frames to go on from, in [-1, 1]. actions: of every frame, the given ones first; None where nobody acts.
    """

    captions: list[str]
    seed: int = 0
    first: Float[Tensor, "b t 3 h w"] | None = None
    actions: Float[Tensor, "b f a"] | None = None


@runtime_checkable
class VideoStart(Protocol):
    """Videos that took in what they were given; they can be gone on with more than once."""

    def stream(self, num_frames: int, memory: MemoryUse = "kept") -> Iterator[Segment]:
        """Segments of the `num_frames` frames after the given ones; the memory as it is, emptied, or the next video's."""
        ...


@runtime_checkable
class EvaluatedModel(Protocol):
    """A model and a way to make video with it."""

    @property
    def name(self) -> str:
        """What it is called; names a folder."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width."""
        ...

    @property
    def has_memory(self) -> bool:
        """Whether there is a memory to be emptied or swapped."""
        ...

    @property
    def extends(self) -> bool:
        """Whether a video can be made longer without making it anew."""
        ...

    @property
    def action_names(self) -> Sequence[str]:
        """What is done in every frame of its videos; empty where nobody acts."""
        ...

    @property
    def identity(self) -> dict[str, object]:
        """What says which model it is, ready for JSON."""
        ...

    def begin(self, request: Request) -> VideoStart:
        """Take in what is given."""
        ...


@dataclass(frozen=True, kw_only=True)
class RolloutStart:
    """A `VideoStart` of a rollout.

    tell: hears of every segment how many frames it has.
    """

    rollout: Rollout
    progress: RolloutState
    empty: Memory
    num_given: int
    actions: Float[Tensor, "b f a"] | None
    tell: Callable[[int], None] | None = None

    def stream(self, num_frames: int, memory: MemoryUse = "kept") -> Iterator[Segment]:
        """Go on behind the given frames; those that a rollout could not take in and made anew are left out."""
        progress = self._with_memory(memory)
        for segment in self._segments(self.num_given + num_frames - progress.start, progress):
            if self.tell is not None:
                self.tell(segment.frames.shape[0] * segment.frames.shape[1])
            known = max(0, self.num_given - segment.start)
            if known < segment.frames.shape[1]:
                frames = segment.frames[:, known:].float().cpu()
                yield replace(segment, start=segment.start + known - self.num_given, frames=frames)

    def _segments(self, num_frames: int, progress: RolloutState) -> Iterator[Segment]:
        """The rollout's stream; of one that makes a video anew for every segment, the whole video, made once."""
        policy = None if self.actions is None else _replayed(self.actions, progress.start)
        if isinstance(self.rollout, FullRollout):
            return iter([self.rollout.whole(num_frames, progress, policy)])
        return self.rollout.stream(num_frames, progress, policy)

    def _with_memory(self, use: MemoryUse) -> RolloutState:
        if use == "kept":
            return self.progress
        memory = self.empty
        if use == "swapped":
            own = self.progress.memory
            num_videos = own[0].tokens.shape[0] if own else 0
            memory = select(own, torch.arange(num_videos).roll(-1))
        return replace(self.progress, memory=memory)


@dataclass(frozen=True, kw_only=True)
class RolloutModel:
    """A `EvaluatedModel` made of anything that gives a rollout for a request.

    action_names: what is done in a frame, empty where nobody acts; without any actions asked for, all of them are 0.
    tell: hears of every segment how many frames it has.
    """

    name: str
    rollout: Callable[[Request], Rollout]
    frame_rate: float
    frame_size: tuple[int, int]
    has_memory: bool = True
    extends: bool = True
    action_names: Sequence[str] = ()
    identity: dict[str, object] = field(default_factory=dict)
    device: str = "cpu"
    tell: Callable[[int], None] | None = None

    def begin(self, request: Request) -> RolloutStart:
        """Prefill the rollout with the given frames."""
        rollout = self.rollout(request)
        progress = rollout.begin(request.seed)
        empty, num_given = progress.memory, 0 if request.first is None else request.first.shape[1]
        actions = self._actions(request, num_given)
        if request.first is not None:
            done = None if actions is None else actions[:, :num_given]
            for _, after in rollout.prefill(progress, request.first.to(self.device), done):
                progress = after
        return RolloutStart(
            rollout=rollout, progress=progress, empty=empty, num_given=num_given, actions=actions, tell=self.tell
        )

    def _actions(self, request: Request, num_given: int) -> Float[Tensor, "b f a"] | None:
        if request.actions is None and not self.action_names:
            return None
        still = torch.zeros(len(request.captions), num_given + 1, len(self.action_names))
        return (still if request.actions is None else request.actions).to(self.device)


def evaluated_model_of(
    pipeline: VideoPipeline,
    name: str = "malt",
    *,
    called: str | None = None,
    identity: Mapping[str, object] | None = None,
    tell: Callable[[int], None] | None = None,
) -> EvaluatedModel:
    """What a pipeline is to a metric, with the rollout of this name; `called` names it where names would be alike."""
    return RolloutModel(
        name=called or name,
        rollout=lambda request: build_rollout(name, pipeline.rollout(request.captions)),
        frame_rate=pipeline.frame_rate,
        frame_size=pipeline.frame_size,
        has_memory=name == "malt" and pipeline.transformer.remembers,
        extends=name != "full",
        action_names=tuple(pipeline.action_names),
        identity={**(identity or {}), "rollout": name},
        device=str(pipeline.device),
        tell=tell,
    )


def _replayed(actions: Float[Tensor, "b f a"], start: int) -> ActionPolicy:
    """Does what was done in the true video; beyond its end, what was done last."""

    def act(segment: Segment | None, num_frames: int) -> Tensor:
        first = start if segment is None else segment.start + segment.frames.shape[1]
        frames = torch.arange(first, first + num_frames, device=actions.device).clamp(max=actions.shape[1] - 1)
        return actions[:, frames]

    return act


def collect(segments: Iterable[Segment]) -> Float[Tensor, "b t 3 h w"]:
    """All frames of a batch of short videos, on the processor, where they are looked at."""
    return torch.cat([segment.frames.cpu() for segment in segments], dim=1)


def make(model: EvaluatedModel, request: Request, num_frames: int) -> Float[Tensor, "b t 3 h w"]:
    """So many frames of every video asked for."""
    return collect(model.begin(request).stream(num_frames))


def stream_spans(
    segments: Iterable[Segment], spans: Sequence[Span]
) -> Iterator[tuple[Span, Float[Tensor, "b t 3 h w"]]]:
    """The frames of some spans of long videos, each as soon as it is made; nothing else is kept, and that no longer."""
    made: dict[Span, list[Tensor]] = {span: [] for span in spans}
    for segment in segments:
        end = segment.start + segment.frames.shape[1]
        for span in [each for each in made if segment.start < each[1] and end > each[0]]:
            first, last = span
            made[span].append(segment.frames[:, max(0, first - segment.start) : last - segment.start].cpu())
            if last <= end:
                yield span, torch.cat(made.pop(span), dim=1)
