"""The small language of `passage`: a caption names a random part of what there is, and knows which part it named."""

import random
from dataclasses import dataclass

from malt.worlds.passage.scenes import COLOURS, KINDS, PLACES, SIZES, WALLS, Scenes

WHERE = {"night": "at night", "day": "by day", "desert": "in the desert", "meadow": "in a meadow"}


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a caption says of one shape; None where it says nothing."""

    kind: str | None = None
    colour: str | None = None
    size: str | None = None

    def phrase(self) -> str:
        """A noun phrase, `a big red circle`; a shape of no named kind is `a shape`."""
        return " ".join(filter(None, ("a", self.size, self.colour, self.kind or "shape")))


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A sentence and what it says: of the shapes (upper lane first when it names both), the wall and the place."""

    shapes: tuple[Named, ...] = ()
    wall: str | None = None
    place: str | None = None
    action: bool = True

    @property
    def text(self) -> str:
        """The sentence."""
        subject = " and ".join(shape.phrase() for shape in self.shapes) or "two shapes"
        verb = "passes" if len(self.shapes) == 1 else "pass"
        wall = " ".join(filter(None, (verb, "behind a", self.wall, "wall"))) if self.action or self.wall else ""
        return " ".join(filter(None, (subject, wall, self.place and WHERE[self.place])))


def describe(scenes: Scenes, index: int, seed: int) -> Caption:
    """Draw a caption of scene `index` that names a random part of it."""
    draw = random.Random(seed)
    both = [_name(scenes, index, lane, draw) for lane in (0, 1)]
    count = draw.choices((2, 1, 0), weights=(0.6, 0.25, 0.15))[0]
    shapes = tuple(both) if count == 2 else (draw.choice(both),) * count
    return Caption(
        shapes=shapes,
        wall=tuple(WALLS)[int(scenes.wall[index])] if draw.random() < 0.4 else None,
        place=tuple(PLACES)[int(scenes.place[index])] if draw.random() < 0.5 else None,
        action=draw.random() < 0.85,
    )


def _name(scenes: Scenes, index: int, lane: int, draw: random.Random) -> Named:
    """Name each property of one shape or leave it open, at random."""
    kind = KINDS[int(scenes.kind[index, lane])] if draw.random() < 0.9 else None
    colour = tuple(COLOURS)[int(scenes.colour[index, lane])] if draw.random() < 0.85 else None
    size = tuple(SIZES)[int(scenes.size[index, lane])] if draw.random() < 0.25 else None
    return Named(kind=kind, colour=colour, size=size)


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    words = {"a", "and", "two", "shapes", "shape", "pass", "passes", "behind", "wall"}
    words |= {*KINDS, *COLOURS, *SIZES, *WALLS, *(word for phrase in WHERE.values() for word in phrase.split())}
    return tuple(sorted(words))
