"""The seam of everything that makes a long video: a stream of segments, and a progress to go on from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from malt.rollouts.noise import Seed


@dataclass(frozen=True)
class Segment:
    """A finished piece of a video.

    index: its number. start: the number of its first frame. frames: (b, t, 3, H, W) in [-1, 1]. latents: what they were
    decoded from, standardised, (b, s, c, h, w). memory_bytes: size of the memory after it; for ways without a memory, of
    the latents and actions that they keep instead.
    """

    index: int
    start: int
    frames: Float[Tensor, "b t 3 H W"]
    latents: Float[Tensor, "b s c h w"]
    memory_bytes: int = 0


# (what was made last, None at first; number of frames that come next) -> what is done in each of them, (b, t, a)
ActionPolicy = Callable[[Segment | None, int], Float[Tensor, "b t a"]]


@runtime_checkable
class StreamPosition(Protocol):
    """What every progress says: `start` is the number of the frame that comes next, `index` that of the segment."""

    @property
    def start(self) -> int: ...  # noqa: D102
    @property
    def index(self) -> int: ...  # noqa: D102


P = TypeVar("P", bound=StreamPosition)


@runtime_checkable
class Rollout(Protocol[P]):
    """A way to make a long video. Where a video stands is a progress, a value: keep it, go on later, or from there twice."""

    def begin(self, seed: Seed) -> P:
        """A video of which there is nothing yet; all chance in it comes from the seed, or each video's from its own."""
        ...

    def frames_ahead(self, progress: P) -> int:
        """How many frames the next segment has."""
        ...

    def advance(self, progress: P, actions: Float[Tensor, "b t a"] | None = None) -> tuple[Segment, P]:
        """Make one segment, whole; `actions` says what is done in each of its frames, for models that take actions."""
        ...

    def stream(self, num_frames: int, progress: P, driver: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `progress`; the last is cut."""
        ...

    def absorb(
        self, progress: P, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, P]]:
        """Take given frames as what has been made so far, segment after segment, each with the progress after it."""
        ...

    def retell(self, progress: P) -> P:
        """The same video, its past seen under this rollout's caption: how a new prompt takes over."""
        ...


def stream_segments(
    rollout: Rollout[P], num_frames: int, progress: P, driver: ActionPolicy | None
) -> Iterator[Segment]:
    """What every rollout's `stream` does: advance until there are enough frames; `driver` sees every segment before."""
    end, segment = progress.start + num_frames, None
    while progress.start < end:
        actions = None if driver is None else driver(segment, rollout.frames_ahead(progress))
        segment, progress = rollout.advance(progress, actions)
        yield replace(segment, frames=segment.frames[:, : end - segment.start])


def held_bytes(held: object) -> int:
    """Bytes of all tensors in a progress or a part of it: memory, latents, actions and caches; what going on takes.

    The same count for every way to make a video. What a forward pass needs while it runs is not in it.
    """
    if isinstance(held, Tensor):
        return held.numel() * held.element_size()
    if is_dataclass(held):
        return sum(held_bytes(getattr(held, part.name)) for part in fields(held))
    if isinstance(held, dict):
        return sum(map(held_bytes, held.values()))
    return sum(map(held_bytes, held)) if isinstance(held, list | tuple) else 0
