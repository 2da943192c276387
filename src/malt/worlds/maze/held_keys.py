"""What somebody with keys does in a room: ahead, back and about, up to walls and objects, and in the end to the middle."""

import math
import random
from collections.abc import Generator, Iterator, Mapping, Set
from dataclasses import dataclass

from malt.worlds.maze.floor_plan import FloorPlan, Room
from malt.worlds.maze.motion import BODY, DISCRETE, TURN, WALK

AHEAD, BACK, LEFT, RIGHT = (DISCRETE[name] for name in ("ahead", "back", "left", "right"))
KEYS: Mapping[tuple[float, float], float] = {  # turn and walk, and how often they are held
    AHEAD: 5,
    (LEFT[0], AHEAD[1]): 2,
    (RIGHT[0], AHEAD[1]): 2,
    LEFT: 3,
    RIGHT: 3,
    BACK: 2,
    (LEFT[0], BACK[1]): 0.5,
    (RIGHT[0], BACK[1]): 0.5,
    DISCRETE["stay"]: 1,
}
SHORTEST, LONGEST = 15, 60  # frames that keys are held for in one room
FRAMES = 3, 16  # that one key is held for
EASED = 4  # frames until a key is followed in full, where it is not at once
FULL_SPEED = 0.8  # how often a key moves as fast as one can
PLAYS, LOOKS_AT = 0.7, 0.35  # how often keys are held in a room, and what stands there is looked at from near
NEAR = 0.45, 0.9  # units from what is looked at
SLACK = 0.0001  # units, beyond those of a body, to the walls: more than is lost by rounding
Box = tuple[float, float, float, float]  # lowest x and y, highest x and y
Frame = tuple[float, float, float, float, float]  # turn and walk, then x, y and heading


@dataclass(frozen=True)
class Spot:
    """A place in the room that one is in, to turn towards and walk to."""

    x: float
    y: float


@dataclass(frozen=True)
class HeldKeys:
    """Turn and walk of each frame as they are wanted, and the box that is not left."""

    wanted: tuple[tuple[float, float], ...]
    box: Box


def boxes(plan: FloorPlan) -> dict[Room, Box]:
    """For each room a box around its middle, without walls and doors: the whole room where it is one."""
    areas: dict[Room, set[tuple[int, int]]] = {room: set() for room in plan.looks}
    for cell, room in plan.open_cells().items():
        if room is not None:
            areas[room].add(cell)
    return {room: _box(area, *map(math.floor, plan.place(room))) for room, area in areas.items()}


def linger(plan: FloorPlan, room: Room, box: Box, draw: random.Random) -> Iterator[Spot | HeldKeys]:
    """What is done in a room, from its middle and back to it; often nothing.

    Args:
        plan: what the room is part of.
        room: which.
        box: of the room (see `boxes`).
        draw: decides.
    """
    x, y = plan.place(room)
    things = [thing for thing in plan.objects if thing.room == room and _holds(box, thing.x, thing.y, 0)]
    if things and draw.random() < LOOKS_AT:
        thing = draw.choice(things)
        distance = math.dist((x, y), (thing.x, thing.y))
        share = max(0.0, 1 - draw.uniform(*NEAR) / distance)
        yield Spot(x + share * (thing.x - x), y + share * (thing.y - y))
        yield HeldKeys((DISCRETE["stay"],) * draw.randint(2, 12), box)
    if draw.random() < PLAYS:
        yield HeldKeys(_presses(draw), box)
    yield Spot(x, y)


def follow_keys(
    keys: HeldKeys, here: tuple[float, float], heading: float
) -> Generator[Frame, None, tuple[tuple[float, float], float]]:
    """The frames of what is done, where a step out of the box is not; in the end the place and the heading."""
    x, y = here
    for turn, step in keys.wanted:
        heading += TURN * turn
        to_x, to_y = x + WALK * step * math.cos(heading), y + WALK * step * math.sin(heading)
        if step and _holds(keys.box, to_x, to_y, BODY + SLACK):
            x, y = to_x, to_y
        else:
            step = 0.0
        yield turn, step, x, y, heading
    return (x, y), heading


def _presses(draw: random.Random) -> tuple[tuple[float, float], ...]:
    """One key after another, each for some frames, followed at once or within some frames."""
    count, eased = draw.randint(SHORTEST, LONGEST), draw.choice((1, EASED))
    wanted, now = list[tuple[float, float]](), DISCRETE["stay"]
    while len(wanted) < count:
        (key,) = draw.choices(list(KEYS), list(KEYS.values()))
        speed = 1.0 if draw.random() < FULL_SPEED else draw.uniform(0.4, 1)
        before, now = now, (speed * key[0], speed * key[1])
        for frame in range(draw.randint(*FRAMES)):
            share = min(1.0, (frame + 1) / eased)
            wanted.append((before[0] + share * (now[0] - before[0]), before[1] + share * (now[1] - before[1])))
    return tuple(wanted[:count])


def _holds(box: Box, x: float, y: float, margin: float) -> bool:
    return box[0] + margin <= x <= box[2] - margin and box[1] + margin <= y <= box[3] - margin


def _box(cells: Set[tuple[int, int]], x: int, y: int) -> Box:
    """The box of open cells that is grown from one of them, side by side as far as it goes."""
    box, grown = [x, y, x + 1, y + 1], True
    while grown:
        grown = False
        for side, step in enumerate((-1, -1, 1, 1)):
            wider = [edge + step * (side == number) for number, edge in enumerate(box)]
            inside = ((a, b) for a in range(wider[0], wider[2]) for b in range(wider[1], wider[3]))
            if all(cell in cells for cell in inside):
                box, grown = wider, True
    return box[0], box[1], box[2], box[3]
