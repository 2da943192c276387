"""What the oracle's readings say of a video: whether what was hidden came out the same, and whether the caption holds.

A reading is a list, one entry a frame, of the shapes that the oracle saw in it; a lane is 0 (upper) or 1 (lower).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from malt.worlds.passage.captions import Caption, Named
from malt.worlds.passage.oracle import Seen, lane

Readings = Sequence[Sequence[Seen]]
Identity = tuple[str, str]  # kind and colour


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """A shape that stays in sight from one frame to another, and what most of its readings say it is."""

    first_frame: int
    last_frame: int
    kind: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Reappearance:
    """A shape comes out again in a lane where one went out of sight before."""

    lane: int
    before: Appearance
    after: Appearance

    @property
    def hidden_frames(self) -> int:
        """Frames between the two without a reading."""
        return self.after.first_frame - self.before.last_frame - 1

    @property
    def same(self) -> bool:
        """Whether what came out is of the kind and colour of what went in."""
        return (self.before.kind, self.before.colour) == (self.after.kind, self.after.colour)


def vote(seen: Sequence[Seen]) -> Identity | None:
    """Kind and colour, together, that most readings name (the earliest of equals); None if there are no readings."""
    counts = Counter((each.kind, each.colour) for each in seen)
    return counts.most_common(1)[0][0] if counts else None


def follow(readings: Readings, which_lane: int, *, min_hidden: int = 8, min_readings: int = 2) -> list[Appearance]:
    """Split what is seen in a lane into appearances, wherever nothing is read for `min_hidden` frames or more.

    Appearances of fewer than `min_readings` readings are too little to go by and are left out.
    """
    spells: list[list[tuple[int, Seen]]] = []
    for frame, seen in _in_lane(readings, which_lane):
        if not spells or frame - spells[-1][-1][0] > min_hidden:
            spells.append([])
        spells[-1].append((frame, seen))
    return [_appearance(spell) for spell in spells if len(spell) >= min_readings]


def same_identity(readings: Readings, *, min_hidden: int = 8, min_readings: int = 2) -> list[Reappearance]:
    """Every time that a shape came out again, in either lane, with what it was before and after."""
    reappearances = []
    for which_lane in (0, 1):
        appearances = follow(readings, which_lane, min_hidden=min_hidden, min_readings=min_readings)
        for before, after in pairwise(appearances):
            reappearances.append(Reappearance(lane=which_lane, before=before, after=after))
    return reappearances


def obeyed(readings: Readings, caption: Caption, *, num_frames: int = 64) -> tuple[int, int]:
    """How many of the kinds and colours that a caption names are there in the first frames, and how many it names.

    Of two named shapes the first must be in the upper lane and the second in the lower; one may be in either. What is
    named together must be found together: a red circle is half right if the lane's shape is a blue circle, whatever is
    red elsewhere. A lane in which nothing is read has nothing right.
    """
    start = readings[:num_frames]
    lanes = [vote([seen for _, seen in _in_lane(start, which_lane)]) for which_lane in (0, 1)]
    num_named = sum((named.kind is not None) + (named.colour is not None) for named in caption.shapes)
    if len(caption.shapes) == 1:
        return max(_num_right(caption.shapes[0], voted) for voted in lanes), num_named
    return sum(map(_num_right, caption.shapes, lanes)), num_named


def _in_lane(readings: Readings, which_lane: int) -> list[tuple[int, Seen]]:
    """Frame and reading of everything seen in a lane."""
    return [(frame, seen) for frame, all_seen in enumerate(readings) for seen in all_seen if lane(seen) == which_lane]


def _appearance(spell: list[tuple[int, Seen]]) -> Appearance:
    """Sum up a spell of readings."""
    identity = vote([seen for _, seen in spell])
    assert identity is not None
    return Appearance(first_frame=spell[0][0], last_frame=spell[-1][0], kind=identity[0], colour=identity[1])


def _num_right(named: Named, voted: Identity | None) -> int:
    """How many of the named properties of one shape are those of a lane."""
    if voted is None:
        return 0
    return (named.kind == voted[0]) + (named.colour == voted[1])
