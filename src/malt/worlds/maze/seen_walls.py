"""Walls that hold in a picture of a maze: where rooms and doors can be is known from where one began; a door is seen by its sill.

A place is known from the middle of the room in which one began, x ahead and y to the left. A door that was walked through is
open, one whose sill is in sight is as it looks, and any other is taken to be open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.maze.floor_plan import PITCH
from malt.worlds.maze.motion import TURN, WALK
from malt.worlds.maze.ray_casting import HAZE, HAZE_COLOUR, focal_length
from malt.worlds.maze.scene_tables import WOOD
from malt.worlds.maze.wall_textures import WALL_HEIGHT

CLEAR = 0.5  # units kept from a wall ahead: nearer, a wall fills the picture, and a model shows its colours alone
HALF_ROOM, HALF_DOOR, TO_DOOR = PITCH / 2 - 0.5, 0.5, PITCH / 2  # units from the middle of a room
WALKED = 0.8  # units from a sill within which somebody who stood there stood in the door
FARTHEST = 3.2  # units ahead at which a sill can be seen from the room alone
WOODEN = 0.12  # how far a colour (0 to 1) may be from that of a sill
Place = tuple[float, float]


@dataclass(frozen=True)
class View:
    """A picture in [-1, 1], and from where and in which direction (radians to the left) it was seen."""

    picture: Float[Tensor, "3 h w"]
    place: Place
    heading: float


def stop_at_walls(view: View, actions: Float[Tensor, "t 2"], walked: Sequence[Place] = ()) -> Float[Tensor, "t 2"]:
    """What of the actions is done from where a picture was seen: steps towards a wall are not.

    Args:
        view: what is seen before the first action.
        actions: turn and walk of each frame.
        walked: places where one has been.
    """
    (x, y), heading, done = view.place, view.heading, actions.clone()
    for frame, (turn, step) in enumerate(actions.tolist()):
        heading += TURN * turn
        ahead, left = math.cos(heading), math.sin(heading)
        reach = math.copysign(CLEAR, step) + WALK * step
        if step and not _is_open((x + reach * ahead, y + reach * left), view, walked):
            done[frame, 1] = step = 0.0
        x, y = x + WALK * step * ahead, y + WALK * step * left
    return done


def _is_open(place: Place, view: View, walked: Sequence[Place]) -> bool:
    """Whether a place is in a room or in an open door."""
    middle = [PITCH * round(each / PITCH) for each in place]
    aside = [abs(each - centre) for each, centre in zip(place, middle, strict=True)]
    if max(aside) <= HALF_ROOM:
        return True
    if min(aside) > HALF_DOOR:
        return False
    axis = aside.index(max(aside))
    sill = [float(each) for each in middle]
    sill[axis] += math.copysign(TO_DOOR, place[axis] - middle[axis])
    if any(math.dist(sill, each) < WALKED for each in (view.place, *walked)):
        return True
    return _shows_wood(view, (sill[0], sill[1]))


def _shows_wood(view: View, sill: Place) -> bool:
    """Whether the picture shows a sill there, or does not show the place at all."""
    height, width = view.picture.shape[1:]
    x, y = sill[0] - view.place[0], sill[1] - view.place[1]
    ahead = x * math.cos(view.heading) + y * math.sin(view.heading)
    right = x * math.sin(view.heading) - y * math.cos(view.heading)
    focal = focal_length(width)
    if not 0.5 < ahead < FARTHEST:
        return True
    column, row = width / 2 + focal * right / ahead, height / 2 + focal * WALL_HEIGHT / 2 / ahead
    if not (1 <= column < width - 1 and row < height - 1):
        return True
    around = view.picture[:, int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2]
    wood = HAZE_COLOUR + math.exp(-HAZE * ahead) * (0.91 * torch.tensor(WOOD) - HAZE_COLOUR)
    return float(((around.mean(dim=(1, 2)) + 1) / 2 - wood).norm()) < WOODEN
