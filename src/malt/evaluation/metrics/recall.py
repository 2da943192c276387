"""Recall: whether what was hidden comes out the same, by how long it was hidden and with which memory."""

from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.evaluated_model import EvaluatedModel, MemoryUse, Request, collect
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.reference import acts_in, first_seed, in_size, true_actions
from malt.evaluation.result import Curve, MetricResult
from malt.worlds.base import HiddenSpan, Occlusion, Oracle, Thing, World
from malt.worlds.registry import oracle_of

USES: dict[MemoryUse, str] = {"kept": "memory as it is", "emptied": "memory emptied", "swapped": "another's memory"}


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Identity after being hidden; `per_bin` occlusions for each span of hidden frames."""

    world: World
    per_bin: int = 16
    name: str = "recall"
    says: str = (
        "True frames are given until something is out of sight, and the model goes on: does the same thing come out? What "
        "never comes out counts as forgotten. With an emptied memory, or that of another video, the model cannot know."
    )

    def __post_init__(self) -> None:
        """Refuse a world in which nobody can tell what comes out."""
        if not self.oracle.spans:
            raise UsageError(
                f"recall needs an oracle that reads pictures, and that of the world {self.world.name} reads none; leave it out"
            )

    @property
    def oracle(self) -> Oracle:
        """Who tells what comes out."""
        return oracle_of(self.world, "recall")

    @property
    def longest(self) -> HiddenSpan:
        """The longest span of hidden frames."""
        return self.oracle.spans[-1]

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        return {
            "same, memory as it is": FigureSpec(words="came out the same", better="higher", percent=True),
            f"same after {self.longest.name} hidden frames": FigureSpec(
                words=f"the same after {self.longest.name} hidden frames", better="higher", percent=True
            ),
            "same, memory emptied": FigureSpec(words="the same, memory emptied", percent=True),
        }

    @property
    def axes(self) -> dict[str, Axes]:
        """The chart's axes."""
        return {"same": Axes(x="frames hidden", y="share that comes out the same", log_x=True)}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        oracle = self.oracle
        watched = {"spans": [span.name for span in oracle.spans], "horizon": oracle.horizon, "chance": oracle.chance}
        return {"world": self.world.name, "per_bin": self.per_bin} | watched

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Watch every occlusion once for each use of the memory."""
        found = self.oracle.occlusions(self.per_bin, first_seed(seed))
        every = sorted((each for in_span in found.values() for each in in_span), key=lambda each: each.given_frames)
        groups = _together(every)
        uses: list[MemoryUse] = ["kept", "emptied"] if model.has_memory else ["kept"]
        if model.has_memory and all(len(group) > 1 for group in groups):
            uses.append("swapped")
        seen = self._watch(model, groups, uses, seed)
        samples: dict[str, list[float]] = {}
        for use in uses:
            samples |= self._samples(every, seen[use], USES[use])
        samples[f"same after {self.longest.name} hidden frames"] = [
            self._same(occlusion, thing)
            for occlusion, thing in zip(every, seen["kept"], strict=True)
            if occlusion.hidden_frames >= self.longest.first
        ]
        curves = [self._curve(every, seen[use], USES[use]) for use in uses]
        notes = self._notes(found)
        if model.has_memory and "swapped" not in uses:
            notes.append("another's memory was not tried: some videos are alone in being given so many frames")
        return MetricResult(samples=samples, curves=curves, notes=notes)

    def _watch(
        self, model: EvaluatedModel, groups: list[list[Occlusion]], uses: list[MemoryUse], seed: int
    ) -> dict[MemoryUse, list[Thing | None]]:
        """What comes out first where each occlusion hid something; None if nothing does."""
        seen: dict[MemoryUse, list[Thing | None]] = {use: [] for use in uses}
        for asked in groups:
            first, actions = self._given(asked, model)
            captions = [self.world.plain_caption] * len(asked)
            start = model.begin(Request(captions=captions, seed=seed, first=first, actions=actions))
            for use in uses:
                videos = collect(start.stream(self.oracle.horizon, use))
                seen[use] += [
                    self.oracle.returning(video, occlusion) for video, occlusion in zip(videos, asked, strict=True)
                ]
        return seen

    def _given(
        self, asked: list[Occlusion], model: EvaluatedModel
    ) -> tuple[Float[Tensor, "b t 3 h w"], Float[Tensor, "b f a"] | None]:
        """The true frames up to each occlusion and, where somebody acts, what is done in them and after them."""
        given, names = asked[0].given_frames, model.action_names
        length = given + self.oracle.horizon if acts_in(self.world, names) else given
        clips = [self.world.render([each.seed], each.start, length) for each in asked]
        first = torch.cat([in_size(clip.frames[:, :given], model.frame_size) for clip in clips])
        return first, true_actions(self.world, clips, names)

    def _notes(self, found: dict[str, list[Occlusion]]) -> list[str]:
        notes = [f"by chance, the same comes out in {self.oracle.chance:.1%} of cases"]
        short = [name for name, in_span in found.items() if len(in_span) < self.per_bin]
        if short:
            notes.append(f"fewer occlusions than wanted were found for {', '.join(short)} hidden frames")
        return notes

    def _same(self, occlusion: Occlusion, seen: Thing | None) -> float:
        return float(seen is not None and all(seen[each] == occlusion.thing[each] for each in self.oracle.attributes))

    def _samples(self, every: list[Occlusion], seen: list[Thing | None], use: str) -> dict[str, list[float]]:
        """Of every occlusion: the same, the same in each attribute, anything at all (1 or 0)."""
        pairs = list(zip(every, seen, strict=True))
        of_attributes = {
            f"same {each}, {use}": [
                float(thing is not None and thing[each] == true.thing[each]) for true, thing in pairs
            ]
            for each in self.oracle.attributes
        }
        same = {f"same, {use}": [self._same(true, thing) for true, thing in pairs]}
        return same | of_attributes | {f"came out, {use}": [float(thing is not None) for thing in seen]}

    def _curve(self, every: list[Occlusion], seen: list[Thing | None], use: str) -> Curve:
        """Share of the same at the middle of every span."""
        pairs = list(zip(every, seen, strict=True))
        spans = self.oracle.spans
        in_spans = [[self._same(true, thing) for true, thing in pairs if s.holds(true.hidden_frames)] for s in spans]
        middles = [(span.first + span.last + 1) / 2 for span in spans]
        return Curve(chart="same", line=use, x=middles, samples=in_spans)


def _together(every: list[Occlusion]) -> list[list[Occlusion]]:
    """Occlusions in batches, of which each has as many given frames throughout; they are sorted by these."""
    alike = [list(group) for _, group in groupby(every, key=lambda each: each.given_frames)]
    return [group[part] for group in alike for part in batches(len(group))]
