"""How one moves: a turn and a step a frame, by which a pose follows from another; walls stop a step that would enter them.

A pose is x, y and heading (radians, to the left of east). First comes the turn, then the step, then the picture.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ACTIONS = ("turn", "walk")  # from -1 (right, back) to 1 (left, ahead)
TURN = math.radians(6.0)  # radians a frame at full turn
WALK = 0.2  # units a frame at full walk
BODY = 0.3  # half a body's width, that walls keep off
DISCRETE: Mapping[str, tuple[float, float]] = {
    "stay": (0.0, 0.0),
    "ahead": (0.0, 1.0),
    "back": (0.0, -1.0),
    "left": (1.0, 0.0),
    "right": (-1.0, 0.0),
}


def discrete_actions(names: Sequence[str]) -> Float[Tensor, "t 2"]:
    """The actions of these names (`DISCRETE`), one a frame."""
    return torch.tensor([DISCRETE[name] for name in names]).reshape(-1, len(ACTIONS))


def dead_reckoning(pose: Float[Tensor, "b 3"], actions: Float[Tensor, "b t 2"]) -> Float[Tensor, "b t 3"]:
    """The poses that actions lead to where no wall is in the way."""
    heading = pose[:, None, 2] + TURN * actions[..., 0].cumsum(dim=1)
    step = WALK * actions[..., 1, None] * torch.stack([heading.cos(), heading.sin()], dim=-1)
    return torch.cat([pose[:, None, :2] + step.cumsum(dim=1), heading[..., None]], dim=-1)


def walk_with_walls(
    pose: Float[Tensor, "b 3"], actions: Float[Tensor, "b t 2"], walls: Bool[Tensor, "b g g"]
) -> tuple[Float[Tensor, "b t 3"], Float[Tensor, "b t 2"]]:
    """The poses, and what of the actions was done: a step into a wall is not taken.

    Args:
        pose: before the first action.
        actions: what is wanted.
        walls: which cells (x, y) have a wall.
    """
    poses, done = [], []
    for action in actions.unbind(dim=1):
        wanted = dead_reckoning(pose, action[:, None])[:, 0]
        blocked = _hits(wanted[:, :2], walls)
        action = torch.stack([action[:, 0], torch.where(blocked, 0.0, action[:, 1])], dim=1)
        pose = dead_reckoning(pose, action[:, None])[:, 0]
        poses.append(pose)
        done.append(action)
    return torch.stack(poses, dim=1), torch.stack(done, dim=1)


def _hits(place: Float[Tensor, "b 2"], walls: Bool[Tensor, "b g g"]) -> Bool[Tensor, " b"]:
    """Whether a body there would touch a wall, by its four corners."""
    corners = torch.tensor([[-BODY, -BODY], [-BODY, BODY], [BODY, -BODY], [BODY, BODY]], device=place.device)
    cells = (place[:, None] + corners).floor().long().clamp(0, walls.shape[1] - 1)
    video = torch.arange(len(place), device=place.device)[:, None]
    hit: Tensor = walls[video, cells[..., 0], cells[..., 1]].any(dim=1)
    return hit
