"""Drift: what becomes of quality and of identity in a long video, always next to how much still moves."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.evaluated_model import EvaluatedModel, Request, Span, stream_spans
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.metrics.features import window_features
from malt.evaluation.metrics.frechet_distance import Gaussian, frechet_distance, gaussian_of
from malt.evaluation.metrics.identity import IdentityByLength, identity_axes, identity_headlines
from malt.evaluation.metrics.picture_signs import histogram_distance, motion, sharpness
from malt.evaluation.reference import Naming, actions_of, captions_of, seeds_of, true_videos
from malt.evaluation.result import Curve, MetricResult
from malt.wording import counted
from malt.worlds.base import DriftSign, World
from malt.worlds.registry import oracle_of

STRETCH, MOST_STRETCHES = 64, 8  # frames looked at together, and how many times in a video
SEEDS_OF_TRUTH = 1  # the room of videos that the reference comes from
WORLD = "the world itself"
CLIP_FRAMES = 16  # of a video of the reference

# Of one video's frames in a stretch, and those of its first stretch.
PICTURE_SIGNS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "sharpness": lambda frames, first: sharpness(frames),
    "motion": lambda frames, first: motion(frames),
    "colour drift": lambda frames, first: histogram_distance(frames, first),
}
KEPT_OF_PICTURES = ("sharpness", "motion")
SignValues = dict[str, list[list[float]]]  # of every sign: stretch, video


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Signs of quality and of motion by how far into the video, and identity: last over first is what is kept.

    naming: how much the captions name; only a memory holds what they do not.
    """

    world: World
    num_videos: int = 16
    num_frames: int = 1024
    reference_clips: int = 512
    naming: Naming = "some"
    name: str = "drift"
    says: str = (
        "Quality of the last 64 frames over that of the first, corrected by what the world's own videos of the same scenes "
        "do. Each sign is next to how much still moves, so that a frozen or a blurred video does not win. Identity: of the "
        "shapes, the background and the wall of the first 256 frames, what is still what it was in 256 frames round each "
        "length; what is not seen there, or stands still, is lost."
    )

    def __post_init__(self) -> None:
        """Refuse videos too short for a first and a last stretch, and a world that nobody can read."""
        if self.num_frames < 2 * STRETCH:
            raise UsageError(f"asked for drift over {counted(self.num_frames, 'frame')}; give at least {2 * STRETCH}")
        oracle_of(self.world, "drift")

    @cached_property
    def world_signs(self) -> tuple[DriftSign, ...]:
        """What the world's oracle reads."""
        return oracle_of(self.world, "drift").drift_signs

    @cached_property
    def kept(self) -> dict[str, DriftSign]:
        """The signs of which a video should keep as much as it began with."""
        of_pictures = tuple(DriftSign(name=name) for name in KEPT_OF_PICTURES)
        return {sign.name: sign for sign in (*self.world_signs, *of_pictures)}

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        identity = identity_headlines(self.num_frames, WORLD)
        kept = {
            f"{name} kept": FigureSpec(words=f"{name} kept", better=sign.better, percent=True)
            for name, sign in self.kept.items()
        }
        levels = {}
        for sign in self.world_signs[:1]:
            words = f"{sign.name} {sign.unit} at the end".replace("  ", " ")
            levels[f"{sign.name}, last"] = FigureSpec(words=words, better=sign.better)
            levels[f"{sign.name}, last, {WORLD}"] = FigureSpec(words=f"the same of {WORLD}")
        ends = {
            "colour drift, last": FigureSpec(words="colours changed by the end", better="lower", percent=True),
            "Frechet of windows, last": FigureSpec(words="Frechet of the last windows", better="lower"),
        }
        return identity | levels | kept | ends

    @property
    def axes(self) -> dict[str, Axes]:
        """The charts' axes."""
        units = {sign.name: sign.unit for sign in self.world_signs} | {"colour drift": "share of pixels"}
        names = [*(sign.name for sign in self.world_signs), *PICTURE_SIGNS]
        of_signs = {name: Axes(x="frame", y=", ".join(filter(None, (name, units.get(name))))) for name in names}
        features = window_features(self.world).name
        return identity_axes() | of_signs | {"Frechet of windows": Axes(x="frame", y=f"Frechet distance ({features})")}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        extent: dict[str, object] = {
            "world": self.world.name,
            "num_videos": self.num_videos,
            "num_frames": self.num_frames,
        }
        return extent | {"stretch": STRETCH, "reference_clips": self.reference_clips, "naming": self.naming}

    @cached_property
    def spans(self) -> list[Span]:
        """First frame of every stretch, and the frame after its last."""
        num = min(MOST_STRETCHES, self.num_frames // STRETCH)
        firsts = [round(n * (self.num_frames - STRETCH) / (num - 1)) for n in range(num)]
        return [(first, first + STRETCH) for first in firsts]

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Make long videos, render those of the same seeds, and compare their stretches."""
        made, true = _Stretches(self), _Stretches(self)
        captions = captions_of(self.world, self.num_videos, seed, naming=self.naming)
        seeds = seeds_of(self.num_videos, seed)
        for part in batches(self.num_videos):
            actions = actions_of(self.world, seeds[part], self.num_frames, model.action_names)
            start = model.begin(Request(captions=captions[part], seed=seed + part.start, actions=actions))
            for span, videos in stream_spans(start.stream(self.num_frames), made.spans):
                made.add(span, videos)
            for span in true.spans:
                first, last = span
                true.add(span, true_videos(self.world, seeds[part], first, last - first, model.frame_size))
        samples = _ends(made.signs, "") | _ends(true.signs, f", {WORLD}")
        samples |= made.identity.samples() | true.identity.samples(f", {WORLD}")
        ratios = {f"{sign} kept": _kept(sign) for sign in self.kept}
        ratios |= {f"{sign} kept, uncorrected": ([f"{sign}, last"], [f"{sign}, first"]) for sign in self.kept}
        distances, floor = self._distances(made.features, true.features, model, seed)
        curves = [*made.identity.curves(""), *true.identity.curves(WORLD)]
        curves += [*self._curves(made.signs, "", distances), *self._curves(true.signs, WORLD, floor)]
        whole = {"Frechet of windows, first": distances[0], "Frechet of windows, last": distances[-1]}
        return MetricResult(
            samples=samples, whole=whole, ratios=ratios, curves=curves, notes=self._notes(made.features)
        )

    def _distances(
        self, made: list[Tensor], true: list[Tensor], model: EvaluatedModel, seed: int
    ) -> tuple[list[float], list[float]]:
        """Frechet distance to the world of every stretch's windows, and of as many windows of its own."""
        seeds = seeds_of(self.reference_clips, seed, room=SEEDS_OF_TRUTH)
        clips = true_videos(self.world, seeds, STRETCH, CLIP_FRAMES, model.frame_size)
        reference = gaussian_of(window_features(self.world)(clips))
        return _to(reference, made), _to(reference, true)

    def _curves(self, signs: SignValues, line: str, distances: list[float]) -> list[Curve]:
        middles = [(first + last) / 2 for first, last in self.spans]
        of_signs = [Curve(chart=sign, line=line, x=middles, samples=values) for sign, values in signs.items()]
        windows = Curve(
            chart="Frechet of windows", line=line, x=middles, samples=[[value] for value in distances], over="seeds"
        )
        return [*of_signs, windows]

    def _notes(self, features: list[Tensor]) -> list[str]:
        return [
            f"Frechet distances of windows have n = {len(features[0])} at each point against {self.reference_clips} of the "
            f"world; the line of {WORLD} has the same n and is their floor",
            "where every video kept everything a bootstrap has no width: it says that none of n lost anything, no more",
        ]


class _Stretches:
    """Collects, span by span of batch after batch, the signs and features of every stretch, and what is there."""

    def __init__(self, metric: Drift) -> None:
        self._features, self._oracle = window_features(metric.world), oracle_of(metric.world, "drift")
        self._stretches = metric.spans
        self.identity = IdentityByLength(self._oracle, metric.num_frames)
        self.spans = sorted({*self._stretches, *self.identity.spans}, key=lambda span: span[1])
        names = [*(sign.name for sign in metric.world_signs), *PICTURE_SIGNS]
        self.signs: SignValues = {name: [[] for _ in self._stretches] for name in names}
        self.features: list[Tensor] = [torch.zeros(0) for _ in self._stretches]
        self._first = torch.zeros(0)

    def add(self, span: Span, videos: Float[Tensor, "b t 3 h w"]) -> None:
        """Look at a span of a batch; the first stretch comes before the others."""
        self.identity.look(span, videos)
        if span in self._stretches:
            self._add_stretch(self._stretches.index(span), videos)

    def _add_stretch(self, n: int, videos: Float[Tensor, "b t 3 h w"]) -> None:
        self._first = videos if n == 0 else self._first
        features = self._features(videos)
        self.features[n] = torch.cat([self.features[n], features]) if self.features[n].numel() else features
        for video, first in zip(videos, self._first, strict=True):
            values = self._oracle.drift(video)
            values |= {name: measure(video, first) for name, measure in PICTURE_SIGNS.items()}
            for name, value in values.items():
                self.signs[name][n].append(value)


def _ends(signs: SignValues, of: str) -> dict[str, list[float]]:
    first = {f"{sign}, first{of}": values[0] for sign, values in signs.items()}
    return first | {f"{sign}, last{of}": values[-1] for sign, values in signs.items()}


def _kept(sign: str) -> tuple[list[str], list[str]]:
    """Last over first, over the same of the world itself: at frame 0 its scenes show more than they do later."""
    return [f"{sign}, last", f"{sign}, first, {WORLD}"], [f"{sign}, first", f"{sign}, last, {WORLD}"]


def _to(reference: Gaussian, stretches: list[Tensor]) -> list[float]:
    return [frechet_distance(reference, gaussian_of(features)) for features in stretches]
