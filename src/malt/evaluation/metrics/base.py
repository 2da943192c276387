"""The seam of everything that is measured: a model and a seed in, numbers out."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

from malt.evaluation.evaluated_model import EvaluatedModel
from malt.evaluation.result import MetricResult
from malt.worlds.base import Better


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """How a figure is to be read: what it says in a few words, and which way is good (None: neither)."""

    words: str
    better: Better | None = None
    percent: bool = False


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What a chart's axes are; `log_x`: equal steps along x are equal ratios."""

    x: str
    y: str
    log_x: bool = False


@runtime_checkable
class Metric(Protocol):
    """Something to be measured: videos in, numbers out."""

    @property
    def name(self) -> str:
        """A word."""
        ...

    @property
    def says(self) -> str:
        """What is measured, for a reader who knows nothing of it."""
        ...

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures that go into the table."""
        ...

    @property
    def axes(self) -> dict[str, Axes]:
        """The charts."""
        ...

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Make what is needed and measure it; chance starts from `seed`."""
        ...

    def settings(self) -> dict[str, object]:
        """What the numbers depend on besides model and seed, ready for JSON."""
        ...


MAX_BATCH = 16  # videos made at once


def batches(num: int) -> list[slice]:
    """Split so many videos into batches of nearly equal size."""
    count = -(-num // MAX_BATCH)
    ends = [round(num * n / count) for n in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]
