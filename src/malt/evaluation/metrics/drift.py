"""Wear: what becomes of quality in a long video, always next to how much still moves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.metrics.features import WorldClips
from malt.evaluation.metrics.frechet_distance import Gaussian, frechet_distance, gaussian_of
from malt.evaluation.result import Curve, MetricResult
from malt.evaluation.video_model import Request, VideoModel, collect_spans
from malt.worlds.passage.drift_signs import histogram_distance, motion, moving_shapes, sharpness, well_formed
from malt.worlds.passage.oracle import Seen, read_shapes
from malt.worlds.passage.reference import captions_of, film, scenes_of

STRETCH, MOST_STRETCHES = 64, 8  # frames looked at together, and how many times in a video
SEEDS_OF_TRUTH = 1  # the room of scenes that the reference comes from
WORLD = "the world itself"

# Each of one video's frames in a stretch, those of its first stretch, and the oracle's readings.
Sign = Callable[[Tensor, Tensor, list[list[Seen]]], float]
SIGNS: dict[str, Sign] = {
    "well-formed shapes": lambda frames, first, seen: well_formed(seen),
    "moving shapes": lambda frames, first, seen: moving_shapes(seen),
    "sharpness": lambda frames, first, seen: sharpness(frames),
    "motion": lambda frames, first, seen: motion(frames),
    "colour drift": lambda frames, first, seen: histogram_distance(frames, first),
}
KEPT = ("well-formed shapes", "moving shapes", "sharpness", "motion")
Signs = dict[str, list[list[float]]]  # of every sign: stretch, video


@dataclass(frozen=True, kw_only=True)
class Wear:
    """Signs of quality and of motion by how far into the video; last over first is what is kept."""

    num_videos: int = 16
    num_frames: int = 1024
    reference_clips: int = 512
    name: str = "wear"
    features: WorldClips = field(default_factory=WorldClips)
    says: str = (
        "Quality of the last 64 frames over that of the first, corrected by what the world's own films of the same scenes do. "
        "A frozen video keeps no moving shapes, a blurred one no well-formed ones."
    )

    def __post_init__(self) -> None:
        """Refuse videos too short for a first and a last stretch."""
        if self.num_frames < 2 * STRETCH:
            raise UsageError(f"asked for wear over {self.num_frames} frames; give at least {2 * STRETCH}")

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        kept = {
            f"{sign} kept": FigureSpec(
                words=f"{sign} kept", better="higher" if sign in KEPT[:2] else None, percent=True
            )
            for sign in KEPT
        }
        levels = {
            "well-formed shapes, last": FigureSpec(words="well-formed shapes a frame at the end", better="higher"),
            f"well-formed shapes, last, {WORLD}": FigureSpec(words=f"the same of {WORLD}"),
        }
        ends = {
            "colour drift, last": FigureSpec(words="colours changed by the end", better="lower", percent=True),
            "Frechet of windows, last": FigureSpec(words="Frechet of the last windows", better="lower"),
        }
        return levels | kept | ends

    @property
    def axes(self) -> dict[str, Axes]:
        """The charts' axes."""
        words = {"well-formed shapes": "a frame", "moving shapes": "a frame", "colour drift": "share of pixels"}
        of_signs = {sign: Axes(x="frame", y=f"{sign}, {words[sign]}" if sign in words else sign) for sign in SIGNS}
        return of_signs | {"Frechet of windows": Axes(x="frame", y=f"Frechet distance ({self.features.name})")}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        extent: dict[str, object] = {"num_videos": self.num_videos, "num_frames": self.num_frames}
        return extent | {"stretch": STRETCH, "reference_clips": self.reference_clips}

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """First frame of every stretch, and the frame after its last."""
        num = min(MOST_STRETCHES, self.num_frames // STRETCH)
        firsts = [round(n * (self.num_frames - STRETCH) / (num - 1)) for n in range(num)]
        return [(first, first + STRETCH) for first in firsts]

    def run(self, subject: VideoModel, seed: int) -> MetricResult:
        """Make long videos and films of the same scenes, and compare their stretches."""
        made, true = _Stretches(self), _Stretches(self)
        captions, scenes = captions_of(self.num_videos, seed), scenes_of(self.num_videos, seed)
        for part in batches(self.num_videos):
            place = subject.begin(Request(captions=captions[part], seed=seed + part.start))
            made.add(collect_spans(subject.stream(place, self.num_frames), self.spans))
            true.add([film(scenes[part], first, last - first, subject.frame_size) for first, last in self.spans])
        samples = _ends(made.signs, "") | _ends(true.signs, f", {WORLD}")
        ratios = {f"{sign} kept": _kept(sign) for sign in KEPT}
        ratios |= {f"{sign} kept, uncorrected": ([f"{sign}, last"], [f"{sign}, first"]) for sign in KEPT}
        distances, floor = self._distances(made.features, true.features, subject, seed)
        curves = [*self._curves(made.signs, "", distances), *self._curves(true.signs, WORLD, floor)]
        whole = {"Frechet of windows, first": distances[0], "Frechet of windows, last": distances[-1]}
        return MetricResult(
            samples=samples, whole=whole, ratios=ratios, curves=curves, notes=self._notes(made.features)
        )

    def _distances(
        self, made: list[Tensor], true: list[Tensor], subject: VideoModel, seed: int
    ) -> tuple[list[float], list[float]]:
        """Frechet distance to the world of every stretch's windows, and of true films' windows, as many."""
        clips = film(scenes_of(self.reference_clips, seed, room=SEEDS_OF_TRUTH), STRETCH, 16, subject.frame_size)
        reference = gaussian_of(self.features(clips))
        return _to(reference, made), _to(reference, true)

    def _curves(self, signs: Signs, line: str, distances: list[float]) -> list[Curve]:
        middles = [(first + last) / 2 for first, last in self.spans]
        of_signs = [Curve(chart=sign, line=line, x=middles, samples=values) for sign, values in signs.items()]
        windows = Curve(
            chart="Frechet of windows", line=line, x=middles, samples=[[value] for value in distances], over="seeds"
        )
        return [*of_signs, windows]

    def _notes(self, features: list[Tensor]) -> list[str]:
        return [
            f"Frechet distances of windows have n = {len(features[0])} at each point against {self.reference_clips} of the "
            f"world; the line of {WORLD} has the same n and is their floor"
        ]


class _Stretches:
    """Collects, batch by batch, the signs and features of every stretch."""

    def __init__(self, wear: Wear) -> None:
        self._features = wear.features
        self.signs: Signs = {sign: [[] for _ in wear.spans] for sign in SIGNS}
        self.features: list[Tensor] = [torch.zeros(0) for _ in wear.spans]

    def add(self, stretches: list[Float[Tensor, "b t 3 h w"]]) -> None:
        for n, videos in enumerate(stretches):
            features = self._features(videos)
            self.features[n] = torch.cat([self.features[n], features]) if self.features[n].numel() else features
            for video, first in zip(videos, stretches[0], strict=True):
                readings = read_shapes(video)
                for sign, measure in SIGNS.items():
                    self.signs[sign][n].append(measure(video, first, readings))


def _ends(signs: Signs, of: str) -> dict[str, list[float]]:
    first = {f"{sign}, first{of}": values[0] for sign, values in signs.items()}
    return first | {f"{sign}, last{of}": values[-1] for sign, values in signs.items()}


def _kept(sign: str) -> tuple[list[str], list[str]]:
    """Last over first, over the same of the world itself: at frame 0 its scenes show more than they do later."""
    return [f"{sign}, last", f"{sign}, first, {WORLD}"], [f"{sign}, first", f"{sign}, last, {WORLD}"]


def _to(reference: Gaussian, stretches: list[Tensor]) -> list[float]:
    return [frechet_distance(reference, gaussian_of(features)) for features in stretches]
