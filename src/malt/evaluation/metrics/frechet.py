"""Frechet distances of short videos to the world's own, by every kind of features there is; none of them is FVD."""

from dataclasses import dataclass

import torch
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.metrics.features import Features, available_features
from malt.evaluation.metrics.frechet_distance import frechet_of
from malt.evaluation.result import MetricResult
from malt.evaluation.video_model import Request, VideoModel, make
from malt.worlds.passage.reference import captions_of, film, scenes_of

REAL, OTHER_REAL = 1, 2  # rooms of scenes that no video was asked for


@dataclass(frozen=True, kw_only=True)
class Frechet:
    """Distance of `num_videos` videos to as many films of other scenes, next to that of two sets of films (the floor)."""

    num_videos: int = 64
    num_frames: int = 128
    name: str = "frechet"
    says: str = (
        "How far a set of videos is from a set of the world's own films: look and motion together. "
        "The floor is what two sets of films are apart at the same n; lower is better, at the floor is perfect."
    )

    def __post_init__(self) -> None:
        """Refuse so few videos that there is no covariance."""
        if self.num_videos < 2:
            raise UsageError("a Frechet distance needs at least 2 videos; give a larger --count, or other --metrics")

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        features, _ = available_features()
        made = {f"{each.name}": FigureSpec(words=f"Frechet distance, {each.name}", better="lower") for each in features}
        floor = {f"floor, {each.name}": FigureSpec(words=f"its floor, {each.name}") for each in features}
        return {name: meaning for pair in zip(made.items(), floor.items(), strict=True) for name, meaning in pair}

    @property
    def axes(self) -> dict[str, Axes]:
        """No charts."""
        return {}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        features, _ = available_features()
        names = [each.name for each in features]
        return {"num_videos": self.num_videos, "num_frames": self.num_frames, "features": names}

    def run(self, subject: VideoModel, seed: int) -> MetricResult:
        """Make videos of captions and films of other scenes, and compare their features."""
        features, notes = available_features()
        made = _features_of_made(features, subject, seed, self.num_videos, self.num_frames)
        real, other = (
            _features_of_films(features, subject, seed, room, self.num_videos, self.num_frames)
            for room in (REAL, OTHER_REAL)
        )
        whole = {each.name: frechet_of(made[each.name], real[each.name]) for each in features}
        whole |= {f"floor, {each.name}": frechet_of(other[each.name], real[each.name]) for each in features}
        counts = ", ".join(f"{len(made[each.name])} of {each.name}" for each in features)
        about = f"{self.num_videos} videos of {self.num_frames} frames against as many films; features: {counts}"
        return MetricResult(whole=whole, notes=[about, *notes])


def _features_of_made(
    features: list[Features], subject: VideoModel, seed: int, num_videos: int, num_frames: int
) -> dict[str, Tensor]:
    captions = captions_of(num_videos, seed)
    parts: dict[str, list[Tensor]] = {each.name: [] for each in features}
    for part in batches(num_videos):
        videos = make(subject, Request(captions=captions[part], seed=seed + part.start), num_frames)
        for each in features:
            parts[each.name].append(each(videos))
    return {name: torch.cat(of_batches) for name, of_batches in parts.items()}


def _features_of_films(
    features: list[Features], subject: VideoModel, seed: int, room: int, num_videos: int, num_frames: int
) -> dict[str, Tensor]:
    scenes = scenes_of(num_videos, seed, room=room)
    parts: dict[str, list[Tensor]] = {each.name: [] for each in features}
    for part in batches(num_videos):
        films = film(scenes[part], 0, num_frames, subject.frame_size)
        for each in features:
            parts[each.name].append(each(films))
    return {name: torch.cat(of_batches) for name, of_batches in parts.items()}
