"""What a stretch of `passage` holds: the shape that travels in each lane, the background and the wall.

A shape is what most of its lane's readings say it is, and travels at a speed that shapes have. Background and wall are
what most pixels look like once shapes have passed. In a stretch in which nothing moves there is nothing: a picture is no
world, and would keep its scenery for ever.
"""

from collections.abc import Sequence
from functools import cache
from statistics import median

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from malt.worlds.base import Inventory
from malt.worlds.passage.appearances import vote
from malt.worlds.passage.oracle import Seen, lane, normalise, read_shapes
from malt.worlds.passage.scenes import PLACES, SIZE, SPEEDS, WALLS, backgrounds

LANE_NAMES = ("upper shape", "lower shape")
MIN_READINGS = 2  # of a shape in a stretch; fewer say nothing
STEP = 4  # frames between two readings by which a speed is told, so that a shape that trembles does not travel
SLOWEST, FASTEST = SPEEDS[0] / 2, SPEEDS[1] * 2  # pixels a frame
PICTURES = 32  # frames from which the scenery is read
MAX_ERROR = 0.2  # distance in RGB (0 ... 1) of a pixel from what it is said to show
MIN_SHARE = 0.15  # of the picture, for a background or a wall to be there
MOVING, MIN_MOVING = 0.15, 0.01  # how much a pixel changes (0 ... 1) that something passes, and share of such pixels


def take_inventory(video: Float[Tensor, "t 3 h w"]) -> Inventory:
    """Read a stretch of a video in [-1, 1], of any size."""
    pictures = normalise(video[:: max(1, len(video) // PICTURES)].cpu())
    if float(_passed(pictures).float().mean()) < MIN_MOVING:
        return Inventory({}, {}, torch.full(pictures.shape[-2:], -1))
    readings = read_shapes(video)
    shapes = {name: _shape(readings, which) for which, name in enumerate(LANE_NAMES)}
    ground = read_ground(pictures.median(dim=0).values)
    place, wall = _most(ground, 0, tuple(PLACES)), _most(ground, len(PLACES), tuple(WALLS))
    scenery = {"background": {"place": place} if place else None, "wall": {"material": wall} if wall else None}
    return Inventory(
        {name: {"kind": shape[0], "colour": shape[1]} for name, shape in shapes.items() if shape},
        {name: thing for name, thing in scenery.items() if thing},
        ground,
    )


def read_ground(picture: Float[Tensor, "3 h w"]) -> Int[Tensor, "h w"]:
    """What each pixel of a picture in [0, 1] shows: a place or, numbered after the places, a wall; -1 for neither."""
    looks = _looks()
    if picture.shape[-1] != SIZE:
        looks = torch.nn.functional.interpolate(looks, picture.shape[-2:])
    error, nearest = torch.linalg.vector_norm(looks - picture, dim=1).min(dim=0)
    tones = torch.tensor([*range(len(PLACES)), *(len(PLACES) + n for n in range(len(WALLS)) for _ in (0, 1))])
    return torch.where(error <= MAX_ERROR, tones[nearest], -1)


@cache
def _looks() -> Float[Tensor, "look 3 h w"]:
    """What a pixel can look like: as in each place, or like the blocks or the joints of each wall."""
    tones = torch.tensor([tone for tones in WALLS.values() for tone in tones])
    places = backgrounds(torch.arange(len(PLACES)))
    return torch.cat([places, tones[:, :, None, None].expand(-1, -1, SIZE, SIZE)])


def _passed(pictures: Float[Tensor, "t 3 h w"]) -> Bool[Tensor, "h w"]:
    """Where something passes."""
    return (pictures.amax(0) - pictures.amin(0)).amax(0) > MOVING


def _shape(readings: Sequence[Sequence[Seen]], which: int) -> tuple[str, str] | None:
    """Kind and colour of the shape that travels in a lane; None where most readings agree on none, or it stands."""
    in_lane = [(frame, seen) for frame, all_seen in enumerate(readings) for seen in all_seen if lane(seen) == which]
    identity = vote([seen for _, seen in in_lane])
    places = {frame: seen.x for frame, seen in in_lane if (seen.kind, seen.colour) == identity}
    if len(places) < max(MIN_READINGS, len(in_lane) / 2):
        return None
    a_frame = _speed(places, 1)
    travelled = _speed(places, STEP)
    travels = a_frame is not None and (a_frame if travelled is None else travelled) >= SLOWEST and a_frame <= FASTEST
    return identity if travels else None


def _speed(places: dict[int, float], step: int) -> float | None:
    """Median speed over readings `step` frames apart, pixels a frame; None without such."""
    steps = [abs(places[frame + step] - x) / step for frame, x in places.items() if frame + step in places]
    return median(steps) if steps else None


def _most(ground: Int[Tensor, "h w"], first: int, names: Sequence[str]) -> str | None:
    """Which of the kinds of scenery that are numbered from `first` on covers most of the picture."""
    counts = torch.stack([(ground == first + n).sum() for n in range(len(names))])
    return names[int(counts.argmax())] if int(counts.max()) >= MIN_SHARE * ground.numel() else None
