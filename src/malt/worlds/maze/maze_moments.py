"""Moments at which one comes back to something seen long before: rooms with an object in sight, for recall to ask about."""

import math
from collections.abc import Callable, Iterator

from jaxtyping import Float
from torch import Tensor

from malt.worlds.base import HiddenSpan, Occlusion
from malt.worlds.maze.floor_plan import PITCH, ROOMS, FloorPlan, Room, Standing, floor_plan
from malt.worlds.maze.maze_returns import STRIDE, find_returns
from malt.worlds.maze.ray_casting import VIEW

SPANS = (
    HiddenSpan(first=64, last=127),
    HiddenSpan(first=128, last=255),
    HiddenSpan(first=256, last=511),
    HiddenSpan(first=1000, last=1499),
)
BEFORE = 48  # frames at least that are given before something was seen for the last time
LEAD = 16  # frames that lead back: the memory alone knows what comes into sight then
HORIZON = 32  # LEAD, and as many frames of what was seen before
SEARCHED = 2048  # frames of a video
Poses = Callable[[int, int, int], Float[Tensor, "t 3"]]  # of a seed, from a frame on, for so many frames


def find_moments(per_span: int, first_seed: int, poses: Poses) -> dict[str, list[Occlusion]]:
    """So many moments for every span, each of a video of its own."""
    found: dict[str, list[Occlusion]] = {span.name: [] for span in SPANS}
    for seed in range(first_seed, first_seed + 40 * per_span):
        lacking = [span for span in SPANS if len(found[span.name]) < per_span]
        if not lacking:
            break
        span = lacking[seed % len(lacking)]
        if moment := next(_moments(seed, span, poses(seed, 0, SEARCHED)), None):
            found[span.name].append(moment)
    return found


def room_at(pose: Float[Tensor, " 3"]) -> Room:
    """The room that one stands in; in a door the nearest."""
    column, row = (min(ROOMS - 1, max(0, math.floor((float(x) - 0.5) / PITCH))) for x in pose[:2])
    return column, row


def object_in_sight(plan: FloorPlan, poses: Float[Tensor, "t 3"]) -> Standing | None:
    """What stands in the room that one ends in, if it is in full sight in most of these frames."""
    room = room_at(poses[-1])
    for thing in plan.objects:
        if thing.room == room:
            x, y, heading = thing.x - poses[:, 0], thing.y - poses[:, 1], poses[:, 2]
            ahead = x * heading.cos() + y * heading.sin()
            aside = (x * heading.sin() - y * heading.cos()).abs()
            seen = (ahead > 0.6) & (aside + 0.3 < math.tan(VIEW / 2) * ahead)
            return thing if bool(seen.float().mean() > 0.6) else None
    return None


def _moments(seed: int, span: HiddenSpan, poses: Float[Tensor, "t 3"]) -> Iterator[Occlusion]:
    given = -(-(span.last + BEFORE) // LEAD) * LEAD
    away = dict(find_returns(poses))
    plan = floor_plan(seed)
    for frame in away:
        stays = all(away.get(frame + late, 0) >= span.first for late in range(0, HORIZON - LEAD, STRIDE))
        start = frame - LEAD - given
        if not (stays and span.holds(away[frame]) and start >= 0 and frame + LEAD <= len(poses)):
            continue
        thing = object_in_sight(plan, poses[frame : frame + LEAD])
        if thing is None:
            continue
        look = plan.looks[thing.room]
        yield Occlusion(
            seed=seed,
            start=start,
            given_frames=given,
            place=thing.room[0] * ROOMS + thing.room[1],
            hidden_frames=away[frame],
            thing={"place": f"{look.wall} {look.pattern}", "object": f"{thing.colour} {thing.kind}"},
        )
