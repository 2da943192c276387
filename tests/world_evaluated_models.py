"""Models whose videos are the world's own, spoilt in known ways, so that every measure's answer is known."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from malt.evaluation.evaluated_model import MemoryUse, Request
from malt.evaluation.reference import seeds_of, true_videos
from malt.rollouts.base import Segment
from malt.worlds.passage.scenes import SIZE
from malt.worlds.registry import open_world

SEGMENT = 16
PASSAGE = open_world("passage")

Spoil = Callable[[Tensor, int], Tensor]  # frames of a segment and the number of its first: what is shown instead
Make = Callable[[Request, int, MemoryUse], Tensor]  # a request, a number of frames, which memory: videos


def of_asked_scenes(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
    """The world's videos that a metric took its captions from."""
    return true_videos(PASSAGE, seeds_of(len(request.captions), request.seed), 0, num_frames, (SIZE, SIZE))


@dataclass
class WorldModel:
    """Hands out what `make` makes, in segments; `starts` counts how often videos were asked for."""

    make: Make = of_asked_scenes
    name: str = "world"
    frame_rate: float = 16.0
    frame_size: tuple[int, int] = (SIZE, SIZE)
    has_memory: bool = False
    extends: bool = True
    action_names: tuple[str, ...] = ()
    identity: dict[str, object] = field(default_factory=lambda: {"checkpoint": "world"})
    starts: int = 0
    between: Callable[[int], None] = lambda start: None

    def begin(self, request: Request) -> "WorldStart":
        self.starts += 1
        return WorldStart(self, request)


@dataclass
class WorldStart:
    """Videos of one request."""

    model: WorldModel
    request: Request

    def stream(self, num_frames: int, memory: MemoryUse = "kept") -> Iterator[Segment]:
        videos = self.model.make(self.request, num_frames, memory)
        for index, start in enumerate(range(0, num_frames, SEGMENT)):
            self.model.between(start)
            frames = videos[:, start : start + SEGMENT]
            yield Segment(index, start, frames, torch.zeros(len(frames), 1, 1, 1, 1), memory_bytes=2**20)


def spoilt(spoil: Callable[[Tensor], Tensor]) -> Make:
    """The films, changed."""
    return lambda request, num_frames, memory: spoil(of_asked_scenes(request, num_frames, memory))


def frozen(videos: Tensor) -> Tensor:
    """From the second half on it shows its first frame, in which both shapes are in full sight, and nothing moves."""
    half = videos.shape[1] // 2
    return torch.cat([videos[:, :half], videos[:, :1].expand_as(videos[:, half:])], dim=1)


def blurred(videos: Tensor) -> Tensor:
    """From the second half on everything is a blur."""
    half = videos.shape[1] // 2
    soft = torch.nn.functional.avg_pool2d(
        videos[:, half:].flatten(0, 1), 9, stride=1, padding=4, count_include_pad=False
    )
    return torch.cat([videos[:, :half], soft.unflatten(0, (len(videos), -1))], dim=1)
