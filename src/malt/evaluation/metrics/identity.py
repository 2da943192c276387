"""Identity: what was there in a video's first frames, and what of it is still what it was, by length.

A video is looked at in blocks of 256 frames, the first of them and one round each length. What a block does not show, or
shows standing still where the world's things move, is lost.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from malt.evaluation.evaluated_model import Span
from malt.evaluation.metrics.base import Axes, FigureSpec
from malt.evaluation.result import Curve
from malt.worlds.base import Inventory, Oracle, Thing

LENGTHS = (64, 256, 512, 1024, 2048, 4096, 8192, 20_000)  # frames since the beginning
BLOCK = 256
AT_THE_START = "things at the start"


def block_at(length: int, num_frames: int) -> Span:
    """The block round frame `length` of a video: in its middle, or as near to that as the video's ends allow."""
    first = max(0, min(length - BLOCK // 2, num_frames - BLOCK))
    return first, min(first + BLOCK, num_frames)


def still_there(first: Mapping[str, Thing], later: Mapping[str, Thing]) -> list[float]:
    """Of everything that was there first, whether it still is and is the same: 1 or 0."""
    return [float(later.get(name) == thing) for name, thing in first.items()]


def _pixels(first: Inventory, later: Inventory) -> list[float]:
    """Share of the scenery's pixels that still show what they showed."""
    if first.ground is None or later.ground is None or not (first.ground >= 0).any():
        return []
    return [float((later.ground == first.ground)[first.ground >= 0].float().mean())]


# By chart, of a video's first inventory and a later one.
KEPT: dict[str, Callable[[Inventory, Inventory], list[float]]] = {
    "identity kept": lambda first, later: still_there(
        {**first.things, **first.scenery}, {**later.things, **later.scenery}
    ),
    "shapes kept": lambda first, later: still_there(first.things, later.things),
    "scenery kept": lambda first, later: still_there(first.scenery, later.scenery),
    "scenery pixels kept": _pixels,
}
WORDS = {
    "identity kept": "of everything there at the start, what is still what it was",
    "shapes kept": "of what moves, what is still what it was",
    "scenery kept": "of background and wall, what is still what it was",
    "scenery pixels kept": "of the scenery's pixels, those that show what they showed",
}


class IdentityByLength:
    """Takes inventory of videos block by block, so that none is ever held whole."""

    def __init__(self, oracle: Oracle, num_frames: int) -> None:
        self._oracle, self.lengths = oracle, [*(n for n in LENGTHS if n < num_frames), num_frames]
        self.blocks = [block_at(length, num_frames) for length in self.lengths]
        self._found: dict[Span, list[Inventory]] = {span: [] for span in (block_at(0, num_frames), *self.blocks)}

    @property
    def spans(self) -> list[Span]:
        """The blocks that must be shown to it."""
        return list(self._found)

    def look(self, span: Span, videos: Float[Tensor, "b t 3 h w"]) -> None:
        """Take inventory of a block of videos; batches of videos come in the same order for every block."""
        if span in self._found:
            self._found[span] += [self._oracle.inventory(video) for video in videos]

    def shares(self, chart: str) -> list[list[float]]:
        """Share that is kept at every length, of every video that had something to keep."""
        return [[sum(kept) / len(kept) for kept in self._kept(KEPT[chart], span) if kept] for span in self.blocks]

    def counts(self, chart: str) -> list[tuple[int, int]]:
        """How many things are kept at every length, and how many there were."""
        return [_counted(self._kept(KEPT[chart], span)) for span in self.blocks]

    def by_name(self) -> dict[str, list[float]]:
        """Of every thing by its name, whether it is kept at the end; one number for each video that had it."""
        found: dict[str, list[float]] = {}
        for first, last in zip(self._found[self.spans[0]], self._found[self.blocks[-1]], strict=True):
            there, then = {**first.things, **first.scenery}, {**last.things, **last.scenery}
            for name, kept in zip(there, still_there(there, then), strict=True):
                found.setdefault(name, []).append(kept)
        return found

    def samples(self, of: str = "") -> dict[str, list[float]]:
        """What is kept at the end, and how many things there were at the start; `of` says of whom."""
        num = [float(len(first.things) + len(first.scenery)) for first in self._found[self.spans[0]]]
        kept = {f"{chart}{of}": self.shares(chart)[-1] for chart in KEPT}
        return {f"{AT_THE_START}{of}": num} | kept | {f"{name} kept{of}": each for name, each in self.by_name().items()}

    def curves(self, line: str) -> list[Curve]:
        """What is kept by length."""
        return [
            Curve(chart=chart, line=line, x=[float(n) for n in self.lengths], samples=self.shares(chart))
            for chart in KEPT
        ]

    def _kept(self, kept: Callable[[Inventory, Inventory], list[float]], span: Span) -> list[list[float]]:
        pairs = zip(self._found[self.spans[0]], self._found[span], strict=True)
        return [kept(first, later) for first, later in pairs]


def identity_headlines(num_frames: int, world: str) -> dict[str, FigureSpec]:
    """The figures for the table; `world` is what the world's own videos are called."""
    kept = {
        chart: FigureSpec(words=f"{chart} at frame {num_frames:,}", better="higher", percent=True) for chart in KEPT
    }
    of_world = {f"identity kept, {world}": FigureSpec(words=f"identity of {world} kept", percent=True)}
    return {AT_THE_START: FigureSpec(words=AT_THE_START, better="higher"), **kept, **of_world}


def identity_axes() -> dict[str, Axes]:
    """The charts' axes."""
    return {chart: Axes(x="frames since the beginning", y=said, log_x=True) for chart, said in WORDS.items()}


def _counted(kept: list[list[float]]) -> tuple[int, int]:
    values = torch.tensor([value for each in kept for value in each])
    return int(values.sum()), len(values)
