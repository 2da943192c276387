"""A policy's way as frames: turns and steps at a pace that changes from leg to leg, and the poses they lead to."""

import math
import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.maze.floor_plan import FloorPlan, floor_plan
from malt.worlds.maze.held_keys import Frame, HeldKeys, Spot, follow_keys
from malt.worlds.maze.map_plan import MapPlan, entered
from malt.worlds.maze.maze_policies import POLICIES
from malt.worlds.maze.motion import TURN, WALK

SLOWEST = 0.6  # the pace of a leg, as a share of the fastest
PAUSE = 0.15  # how often one stands still for a moment before a leg
Place = tuple[float, float]


class Walk:
    """The frames of one walk, made as they are asked for and kept."""

    def __init__(self, plan: FloorPlan, seed: int, policy: str) -> None:
        self._frames = _frames(plan, policy, random.Random(f"{policy} {seed}"))
        self._made: list[Frame] = []

    def frames(self, start: int, count: int) -> Float[Tensor, "t 5"]:
        """Turn, walk, x, y and heading of these frames."""
        self._made += islice(self._frames, max(0, start + count - len(self._made)))
        return torch.tensor(self._made[start : start + count], dtype=torch.float64).float()


@lru_cache(maxsize=4096)
def walk(seed: int, policy: str, own_map: MapPlan | None = None) -> Walk:
    """The walk of a seed under a policy, in the seed's maze or on a map."""
    return Walk(floor_plan(seed) if own_map is None else entered(own_map, seed), seed, policy)


def _frames(plan: FloorPlan, policy: str, draw: random.Random) -> Iterator[Frame]:
    """Frame 0 is where one begins: nothing was done yet."""
    room, here, heading = plan.start, plan.place(plan.start), plan.heading * math.pi / 2
    yield 0.0, 0.0, *here, heading
    for leg in POLICIES[policy](plan, draw):
        if draw.random() < PAUSE:
            yield from [(0.0, 0.0, *here, heading)] * draw.randint(2, 6)
        if isinstance(leg, float):
            yield from _turn(here, heading, leg, draw)
            heading += leg
            continue
        if isinstance(leg, HeldKeys):
            here, heading = yield from follow_keys(leg, here, heading)
            continue
        way = [(leg.x, leg.y)] if isinstance(leg, Spot) else plan.way(room, leg)
        for there in way:
            if there == here:
                continue
            turn = _turn_towards(here, there, heading, draw)
            yield from _turn(here, heading, turn, draw)
            heading += turn
            yield from _go(here, there, heading, draw)
            here = there
        room = room if isinstance(leg, Spot) else leg


def _turn_towards(here: Place, there: Place, heading: float, draw: random.Random) -> float:
    """The shorter turn towards a place; for a half turn either way."""
    wanted = math.atan2(there[1] - here[1], there[0] - here[0]) % (2 * math.pi)
    turn = math.remainder(wanted - heading, 2 * math.pi)
    return turn * draw.choice((-1, 1)) if abs(turn) > math.pi - 1e-6 else turn


def _turn(here: Place, heading: float, angle: float, draw: random.Random) -> Iterator[Frame]:
    for share, before in _paces(abs(angle), TURN * draw.uniform(SLOWEST, 1)):
        yield math.copysign(share / TURN, angle), 0.0, *here, heading + math.copysign(before + share, angle)


def _go(here: Place, there: Place, heading: float, draw: random.Random) -> Iterator[Frame]:
    (x, y), (to_x, to_y) = here, there
    length = math.hypot(to_x - x, to_y - y)
    for share, before in _paces(length, WALK * draw.uniform(SLOWEST, 1)):
        part = (before + share) / length
        yield 0.0, share / WALK, x + part * (to_x - x), y + part * (to_y - y), heading


def _paces(length: float, pace: float) -> Iterator[tuple[float, float]]:
    """What is done of a length in every frame, and what was before: equal parts, none longer than the pace."""
    count = math.ceil(length / pace - 1e-9)
    for number in range(count):
        yield length / count, number * length / count
