"""Recall: whether a shape that was hidden comes out the same, by how long it was hidden and with which memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.result import Curve, MetricResult
from malt.evaluation.video_model import MemoryUse, Request, VideoModel, collect
from malt.worlds.passage.appearances import Appearance, follow
from malt.worlds.passage.occlusions import BINS, GIVEN, HORIZON, Occlusion, moments
from malt.worlds.passage.oracle import read_shapes
from malt.worlds.passage.reference import UNTOLD, film, first_scene
from malt.worlds.passage.scenes import COLOURS, KINDS, sample_scenes

USES: dict[MemoryUse, str] = {"kept": "memory as it is", "emptied": "memory emptied", "swapped": "another's memory"}
CHANCE = 1 / (len(KINDS) * len(COLOURS))


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Identity after being hidden; `per_bin` moments for each span of hidden frames."""

    per_bin: int = 16
    name: str = "recall"
    says: str = (
        "True frames are shown until a shape has passed behind the wall; does the same kind and colour come out? "
        "A shape that never comes out counts as forgotten. With an emptied or another video's memory it cannot know."
    )

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        longest = BINS[-1].name
        return {
            "same, memory as it is": FigureSpec(words="came out the same", better="higher", percent=True),
            f"same after {longest} hidden frames": FigureSpec(
                words=f"the same after {longest} hidden frames", better="higher", percent=True
            ),
            "same, memory emptied": FigureSpec(words="the same, memory emptied", percent=True),
        }

    @property
    def axes(self) -> dict[str, Axes]:
        """The chart's axes."""
        return {"same": Axes(x="frames hidden", y="share that comes out the same", log_x=True)}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        return {"per_bin": self.per_bin, "given": GIVEN, "horizon": HORIZON, "chance": CHANCE}

    def run(self, subject: VideoModel, seed: int) -> MetricResult:
        """Watch every moment once for each use of the memory."""
        found = moments(self.per_bin, first_scene(seed))
        every = [moment for in_bin in found.values() for moment in in_bin]
        uses: list[MemoryUse] = ["kept", "emptied", "swapped"] if subject.has_memory else ["kept"]
        seen = watch(subject, every, uses, seed)
        samples: dict[str, list[float]] = {}
        for use in uses:
            samples |= _samples(every, seen[use], USES[use])
        in_longest = [
            _same(m, a) for m, a in zip(every, seen["kept"], strict=True) if m.hidden_frames >= BINS[-1].first
        ]
        samples[f"same after {BINS[-1].name} hidden frames"] = in_longest
        notes = [f"by chance a shape is the same in {CHANCE:.1%} of cases"]
        short = [name for name, in_bin in found.items() if len(in_bin) < self.per_bin]
        if short:
            notes.append(f"too few moments were found for {', '.join(short)} hidden frames")
        curves = [_curve(every, seen[use], USES[use]) for use in uses]
        return MetricResult(samples=samples, curves=curves, notes=notes)


def watch(
    subject: VideoModel, every: list[Occlusion], uses: list[MemoryUse], seed: int
) -> dict[MemoryUse, list[Appearance | None]]:
    """The first shape that comes out in the lane of each moment's shape; None if none does."""
    seen: dict[MemoryUse, list[Appearance | None]] = {use: [] for use in uses}
    for part in batches(len(every)):
        asked = every[part]
        place = subject.begin(Request(captions=[UNTOLD] * len(asked), seed=seed, first=_given(asked, subject)))
        for use in uses:
            videos = collect(subject.stream(place, HORIZON, use))
            seen[use] += [_first(video, moment) for video, moment in zip(videos, asked, strict=True)]
    return seen


def _given(asked: list[Occlusion], subject: VideoModel) -> Tensor:
    """The true frames up to each moment."""
    films = [film(sample_scenes(1, each.scene), each.start, GIVEN, subject.frame_size) for each in asked]
    return torch.cat(films)


def _first(video: Tensor, moment: Occlusion) -> Appearance | None:
    appearances = follow(read_shapes(video), moment.lane)
    return appearances[0] if appearances else None


def _same(moment: Occlusion, seen: Appearance | None) -> float:
    return float(seen is not None and (seen.kind, seen.colour) == (moment.kind, moment.colour))


def _samples(every: list[Occlusion], seen: list[Appearance | None], use: str) -> dict[str, list[float]]:
    """Of every moment: same, same kind, same colour, anything at all (1 or 0)."""
    pairs = list(zip(every, seen, strict=True))
    return {
        f"same, {use}": [_same(moment, shape) for moment, shape in pairs],
        f"same kind, {use}": [float(shape is not None and shape.kind == moment.kind) for moment, shape in pairs],
        f"same colour, {use}": [float(shape is not None and shape.colour == moment.colour) for moment, shape in pairs],
        f"came out, {use}": [float(shape is not None) for shape in seen],
    }


def _curve(every: list[Occlusion], seen: list[Appearance | None], use: str) -> Curve:
    """Share of the same at the middle of every bin."""
    in_bins = [
        [_same(m, a) for m, a in zip(every, seen, strict=True) if each.first <= m.hidden_frames <= each.last]
        for each in BINS
    ]
    middles = [(each.first + each.last + 1) / 2 for each in BINS]
    return Curve(chart="same", line=use, x=middles, samples=in_bins)
