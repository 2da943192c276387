"""Sampling some frames of a sequence, while those before and after them stand at noise levels of their own."""

from collections.abc import Callable

import torch
from diffusers import SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.sampling import StepEnd, sample

# (x_t, noise level of every frame) -> v
FrameVelocity = Callable[[Float[Tensor, "b s c h w"], Float[Tensor, "b s"]], Float[Tensor, "b s c h w"]]
KnownFrames = tuple[Float[Tensor, "b _ c h w"], Float[Tensor, "b _"]]  # frames that do not move, and their noise levels


def sample_part(
    velocity: FrameVelocity,
    noise: Float[Tensor, "b n c h w"],
    scheduler: SchedulerMixin,
    num_steps: int,
    before: KnownFrames,
    after: KnownFrames | None = None,
    on_step_end: StepEnd | None = None,
) -> Float[Tensor, "b n c h w"]:
    """Latents in the place of `noise`, between the frames `before` and `after` it, all of them in the view of `velocity`.

    Raises:
        ValueError: when num_steps is less than 1.
    """
    first, count = before[0].shape[1], noise.shape[1]
    left, right = [before], [] if after is None else [after]

    def part(x: Tensor, t: float) -> Tensor:
        moving = (x, torch.full(x.shape[:2], t, device=x.device))
        frames, levels = (torch.cat(pieces, dim=1) for pieces in zip(*left, moving, *right, strict=True))
        return velocity(frames, levels)[:, first : first + count]

    return sample(part, noise, scheduler, num_steps, on_step_end)
