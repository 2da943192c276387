"""Where a body that turns and walks is: poses in the plane, from actions by dead reckoning, and how alike two views are.

A pose is x, y, and the cosine and sine of the heading. It says where something is as seen from an origin pose, x ahead of it
and y to its left; so poses can be chained (`moved`) and undone (`seen_from`). It is made from what was done, never from what is
seen.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

WAVELENGTHS = (2.0, 4.0, 8.0, 16.0)  # in units of length, of the waves that tell places apart
NUM_FEATURES = 6 + 4 * len(WAVELENGTHS)
Pose = Float[Tensor, "*#batch 4"]


def origin(like: Tensor, *batch: int) -> Pose:
    """The pose in which nothing has been done; made on the device, so that nothing is copied there."""
    return torch.eye(4, dtype=like.dtype, device=like.device)[2].expand(*batch, 4)


def moved(start: Pose, step: Pose) -> Pose:
    """The pose that is `step` as seen from `start`."""
    (x, y, cos, sin), (ahead, left, turn_cos, turn_sin) = start.unbind(dim=-1), step.unbind(dim=-1)
    return torch.stack(
        [
            x + cos * ahead - sin * left,
            y + sin * ahead + cos * left,
            cos * turn_cos - sin * turn_sin,
            sin * turn_cos + cos * turn_sin,
        ],
        dim=-1,
    )


def seen_from(viewer: Pose, pose: Pose) -> Pose:
    """A pose as seen from another: `moved(viewer, seen_from(viewer, pose))` is `pose`."""
    x, y, cos, sin = viewer.unbind(dim=-1)
    back = torch.stack([-x * cos - y * sin, x * sin - y * cos, cos, -sin], dim=-1)
    return moved(back, pose)


def dead_reckoning(
    actions: Float[Tensor, "b s a"], motion: tuple[float, float], num_context: int
) -> Float[Tensor, "b s 4"]:
    """The pose at the end of every latent frame, as seen from the end of the context, or from the beginning without one.

    Args:
        actions: turn and walk of each video frame of a latent frame side by side; a turn comes before its step.
        motion: radians of a turn of 1, and units of length of a step of 1.
        num_context: how many of the first frames are context.
    """
    turn, walk = rearrange(actions.float(), "b s (t a) -> a b (s t)", a=2)
    heading = motion[0] * turn.cumsum(dim=1)
    x, y = ((motion[1] * walk * share).cumsum(dim=1) for share in (heading.cos(), heading.sin()))
    poses = torch.stack([x, y, heading.cos(), heading.sin()], dim=-1)
    poses = rearrange(poses, "b (s t) p -> b s t p", s=actions.shape[1])[:, :, -1]
    return seen_from(poses[:, num_context - 1, None], poses) if num_context else poses


def features(pose: Pose) -> Float[Tensor, "*batch f"]:
    """A pose as a network takes it: near and far, and by waves of several lengths."""
    place, heading = pose[..., :2], pose[..., 2:]
    cos, sin = heading.unbind(dim=-1)
    waves = [2 * math.pi / length * place for length in WAVELENGTHS]
    twice = torch.stack([cos * cos - sin * sin, 2 * cos * sin], dim=-1)
    return torch.cat(
        [place / WAVELENGTHS[-1], heading, twice, *(f(wave) for wave in waves for f in (torch.cos, torch.sin))], dim=-1
    )


def likeness(one: Float[Tensor, "b n 4"], other: Float[Tensor, "b m 4"], reach: float) -> Float[Tensor, "b n m"]:
    """How alike what is seen from two poses is, from 0 (the same) down: -1 for 1.4 `reach` apart, or for 45 degrees."""
    apart = one[:, :, None] - other[:, None]
    place = apart[..., :2].square().sum(dim=-1) / (2 * reach**2)
    heading = apart[..., 2:].square().sum(dim=-1) / 2  # 1 - cos of the angle
    return -place - heading / (1 - math.cos(math.pi / 4))
