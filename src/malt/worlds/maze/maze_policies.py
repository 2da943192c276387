"""Ways to walk through a maze, by name: where to go next from a room, and whether to look around there first.

All of them come back to places, sooner or later; none but `wander` comes near a wall. A policy is a generator of rooms (the
next one, which is behind a door of this one), of looks around (radians to turn through, back to the heading before in sum),
and of what is done inside a room, which ends in its middle.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from malt.worlds.maze.floor_plan import FloorPlan, Room
from malt.worlds.maze.held_keys import HeldKeys, Spot, boxes, linger

Leg = Room | float | Spot | HeldKeys  # the room to walk to, radians to turn through, or what is done in a room
FULL_TURN = 2 * math.pi
AWAY_ROOMS = 14  # that `return` passes before it comes back: each takes at least 20 frames


def explore(plan: FloorPlan, draw: random.Random) -> Iterator[Leg]:
    """To the nearest room not seen yet, looking around in new ones; when all are seen, all over again."""
    room, seen = plan.start, set[Room]()
    while True:
        if room not in seen:
            yield from _look(draw, 0.6)
            seen.add(room)
        if len(seen) == len(plan.looks):
            seen = {room}
        new = sorted(set(plan.looks) - seen)
        draw.shuffle(new)
        for room in min((_way(plan, room, target) for target in new), key=len):
            yield room
            seen |= {room} if draw.random() < 0.5 else set()


def replay(plan: FloorPlan, draw: random.Random) -> Iterator[Leg]:
    """Out and back the same way, again and again; seldom twice the same."""
    while True:
        out = _out(plan, draw, 4)
        yield from _look(draw, 0.4)
        yield from out[1:]
        yield from _look(draw, 0.3)
        yield from out[-2::-1]


def loop(plan: FloorPlan, draw: random.Random) -> Iterator[Leg]:
    """Round and round, by a way round that the maze has, now and then the other way about."""
    ways = rounds(plan)
    way = draw.choice(ways)
    yield from _way(plan, plan.start, way[0])
    while True:
        yield from _look(draw, 0.3)
        yield from [*way[1:], way[0]]
        if draw.random() < 0.3:
            way = [way[0], *way[:0:-1]]


def come_back(plan: FloorPlan, draw: random.Random) -> Iterator[Leg]:
    """Look around, go away through many rooms for a long time, come back and look around: `return`."""
    room = plan.start
    while True:
        yield _full_turn(draw)
        home, before = room, room
        for _ in range(AWAY_ROOMS):
            onward = [other for other in plan.neighbours(room) if other not in (home, before)]
            onward = onward or [other for other in plan.neighbours(room) if other != home] or plan.neighbours(room)
            before, room = room, draw.choice(onward)
            yield room
            yield from _look(draw, 0.1)
        yield from _way(plan, room, home)
        yield _full_turn(draw)
        room = home
        yield (room := draw.choice(plan.neighbours(room)))


def wander(plan: FloorPlan, draw: random.Random) -> Iterator[Leg]:
    """Out and back by short ways; in the rooms, what somebody with keys does (`held_keys`)."""
    inside = boxes(plan)
    yield from linger(plan, plan.start, inside[plan.start], draw)
    while True:
        out = _out(plan, draw, 2)
        for room in (*out[1:], *out[-2::-1]):
            yield room
            yield from _look(draw, 0.2)
            yield from linger(plan, room, inside[room], draw)


def possible(plan: FloorPlan) -> tuple[str, ...]:
    """The policies that a plan has the ways for."""
    return tuple(name for name, policy in POLICIES.items() if policy is not loop or rounds(plan))


Policy = Callable[[FloorPlan, random.Random], Iterator[Leg]]
POLICIES: dict[str, Policy] = {
    "explore": explore,
    "replay": replay,
    "loop": loop,
    "return": come_back,
    "wander": wander,
}


def _out(plan: FloorPlan, draw: random.Random, most: int) -> list[Room]:
    """A way from the start through so many rooms at most, none twice."""
    out = [plan.start]
    for _ in range(draw.randint(1, most)):
        onward = [other for other in plan.neighbours(out[-1]) if other not in out]
        if not onward:
            break
        out.append(draw.choice(onward))
    return out


def _full_turn(draw: random.Random) -> float:
    return FULL_TURN * draw.choice((-1, 1))


def _look(draw: random.Random, probability: float) -> Iterator[Leg]:
    """Sometimes a full turn, or a look to one side and back."""
    if draw.random() >= probability:
        return
    if draw.random() < 0.5:
        yield _full_turn(draw)
        return
    side = draw.choice((-1, 1)) * draw.uniform(0.2, 0.4) * math.pi
    yield side
    yield -side


def _way(plan: FloorPlan, start: Room, end: Room) -> list[Room]:
    """The shortest way, without its first room."""
    ways, seen = [[start]], {start}
    while ways[0][-1] != end:
        way = ways.pop(0)
        onward = [room for room in plan.neighbours(way[-1]) if room not in seen]
        seen.update(onward)
        ways += [[*way, room] for room in onward]
    return ways[0][1:]


def rounds(plan: FloorPlan) -> list[list[Room]]:
    """The shortest way round through every door that has one."""
    found = []
    for door in sorted(plan.doors, key=sorted):
        first, second = sorted(door)
        without = replace(plan, doors=plan.doors - {door})
        if _joined(without, first, second):
            found.append([first, *_way(without, first, second)])
    return found


def _joined(plan: FloorPlan, start: Room, end: Room) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        onward = [room for room in plan.neighbours(waiting.pop()) if room not in seen]
        seen.update(onward)
        waiting += onward
    return end in seen
