"""Boundaries: whether the picture jumps where one segment ends and the next begins."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.evaluation.evaluated_model import EvaluatedModel, Request
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.reference import actions_of, captions_of, seeds_of
from malt.evaluation.result import MetricResult
from malt.rollouts.base import Segment
from malt.worlds.base import World


@dataclass(frozen=True, kw_only=True)
class Boundaries:
    """Mean absolute difference from a frame to the next, at segment borders and inside segments."""

    world: World
    num_videos: int = 16
    num_frames: int = 256
    name: str = "boundaries"
    says: str = (
        "How much the picture changes at the border of two segments, over how much it changes inside one. "
        "At 1 the border cannot be seen."
    )

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        return {"border over inside": FigureSpec(words="jump at borders over inside, 1 is seamless")}

    @property
    def axes(self) -> dict[str, Axes]:
        """No charts."""
        return {}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        return {"world": self.world.name, "num_videos": self.num_videos, "num_frames": self.num_frames}

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Follow videos and note every change."""
        captions = captions_of(self.world, self.num_videos, seed)
        border: list[float] = []
        inside: list[float] = []
        for part in batches(self.num_videos):
            seeds = seeds_of(self.num_videos, seed)[part]
            actions = actions_of(self.world, seeds, self.num_frames, model.action_names)
            start = model.begin(Request(captions=captions[part], seed=seed + part.start, actions=actions))
            at_border, within = jumps(start.stream(self.num_frames))
            border, inside = [*border, *at_border.tolist()], [*inside, *within.tolist()]
        if not border:
            return MetricResult(
                samples={"inside": inside}, notes=["all frames came in one segment: there is no border"]
            )
        return MetricResult(
            samples={"border": border, "inside": inside},
            ratios={"border over inside": (["border"], ["inside"])},
            notes=["changes are mean absolute differences of pixels in [-1, 1]"],
        )


def jumps(segments: Iterable[Segment]) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Of every video its mean change at borders, and inside segments; nothing where there are no such changes."""
    border: list[Tensor] = []
    inside: list[Tensor] = []
    last: Tensor | None = None
    for segment in segments:
        frames = segment.frames
        if last is not None:
            border.append((frames[:, :1] - last).abs().flatten(2).mean(2))
        inside.append((frames[:, 1:] - frames[:, :-1]).abs().flatten(2).mean(2))
        last = frames[:, -1:]
    return _mean(border), _mean(inside)


def _mean(changes: list[Tensor]) -> Tensor:
    every = torch.cat(changes, dim=1) if changes else torch.zeros(0, 0)
    return every.mean(1) if every.numel() else torch.zeros(0)
