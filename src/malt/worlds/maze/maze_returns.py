"""When a walk comes back: frames from which much the same is seen as long before, and was not in between."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

NEAR, ALIKE = 1.0, 0.85  # units between two places, and cosine between two headings, that show much the same
AWAY = 32  # frames for which it must not have been seen
NOW = 12  # frames: what one sees right now is no return
STRIDE = 4  # frames: a latent frame


def find_returns(poses: Float[Tensor, "t 3"], longest: int | None = None) -> Iterator[tuple[int, int]]:
    """Frames that show what was seen before, and for how long it was not; at most `longest` frames."""
    coarse = poses[::STRIDE]
    near = (coarse[:, None, :2] - coarse[None, :, :2]).square().sum(dim=-1) < NEAR**2
    alike = near & (torch.cos(coarse[:, None, 2] - coarse[None, :, 2]) > ALIKE)
    times = STRIDE * torch.arange(len(coarse))
    ago = times[:, None] - times[None]
    latest = torch.where(alike & (ago > NOW), ago, len(poses)).amin(dim=1)
    counts = (latest >= AWAY) & (latest <= min(longest or len(poses), len(poses) - 1))
    yield from zip(times[counts].tolist(), latest[counts].tolist(), strict=True)
