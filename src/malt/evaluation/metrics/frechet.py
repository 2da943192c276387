"""Frechet distances of short videos to the world's own, by every kind of features there is; none of them is FVD."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.evaluated_model import EvaluatedModel, Request, make
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.metrics.features import available_features
from malt.evaluation.metrics.frechet_distance import frechet_of
from malt.evaluation.reference import actions_of, captions_of, seeds_of, true_videos
from malt.evaluation.result import MetricResult
from malt.wording import counted
from malt.worlds.base import World
from malt.worlds.video_features import Features

REAL, OTHER_REAL = 1, 2  # rooms of videos whose captions no model is given


@dataclass(frozen=True, kw_only=True)
class Frechet:
    """Distance of `num_videos` videos to as many true ones, next to that of two sets of true ones (the floor)."""

    world: World
    num_videos: int = 64
    num_frames: int = 128
    name: str = "frechet"
    says: str = (
        "How far a set of videos is from a set of the world's own: look and motion together. The floor is the distance of "
        "two sets of the world's own videos, as many of each. Lower is better; at the floor is perfect."
    )

    def __post_init__(self) -> None:
        """Refuse so few videos that there is no covariance."""
        if self.num_videos < 2:
            raise UsageError("a Frechet distance needs at least 2 videos; give a larger --count, or other --metrics")
        if not (found := available_features(self.world))[0]:
            raise UsageError(f"the world {self.world.name} has no features to compare videos by, and {found[1][0]}")

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        features, _ = available_features(self.world)
        made = {f"{each.name}": FigureSpec(words=f"Frechet distance, {each.name}", better="lower") for each in features}
        floor = {f"floor, {each.name}": FigureSpec(words=f"its floor, {each.name}") for each in features}
        return {name: meaning for pair in zip(made.items(), floor.items(), strict=True) for name, meaning in pair}

    @property
    def axes(self) -> dict[str, Axes]:
        """No charts."""
        return {}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        features, _ = available_features(self.world)
        names = [each.name for each in features]
        extent: dict[str, object] = {"num_videos": self.num_videos, "num_frames": self.num_frames}
        return {"world": self.world.name, "features": names} | extent

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Make videos of captions, render other videos, and compare their features."""
        features, notes = available_features(self.world)
        made = self._of_made(features, model, seed)
        real, other = (self._of_true(features, model, seed, room) for room in (REAL, OTHER_REAL))
        whole = {each.name: frechet_of(made[each.name], real[each.name]) for each in features}
        whole |= {f"floor, {each.name}": frechet_of(other[each.name], real[each.name]) for each in features}
        counts = ", ".join(f"{len(made[each.name])} of {each.name}" for each in features)
        about = f"{counted(self.num_videos, 'video')} of {counted(self.num_frames, 'frame')} "
        about += f"against as many true ones; features: {counts}"
        return MetricResult(whole=whole, notes=[about, *notes])

    def _of_made(self, features: list[Features], model: EvaluatedModel, seed: int) -> dict[str, Tensor]:
        captions, seeds = captions_of(self.world, self.num_videos, seed), seeds_of(self.num_videos, seed)

        def request(part: slice) -> Request:
            actions = actions_of(self.world, seeds[part], self.num_frames, model.action_names)
            return Request(captions=captions[part], seed=seed + part.start, actions=actions)

        return _features(features, (make(model, request(part), self.num_frames) for part in batches(self.num_videos)))

    def _of_true(self, features: list[Features], model: EvaluatedModel, seed: int, room: int) -> dict[str, Tensor]:
        seeds = seeds_of(self.num_videos, seed, room=room)
        videos = (
            true_videos(self.world, seeds[part], 0, self.num_frames, model.frame_size)
            for part in batches(self.num_videos)
        )
        return _features(features, videos)


def _features(features: list[Features], batches_of_videos: Iterable[Float[Tensor, "b t 3 h w"]]) -> dict[str, Tensor]:
    """Features of all videos, by the name of the kind."""
    parts: dict[str, list[Tensor]] = {each.name: [] for each in features}
    for videos in batches_of_videos:
        for each in features:
            parts[each.name].append(each(videos))
    return {name: torch.cat(of_batches) for name, of_batches in parts.items()}
