"""Sampling some frames of a sequence, while those before and after them stand at noise levels of their own."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.sampling import Scheduler, StepEnd, sample

# (x_t, noise level of every frame) -> v
FrameVelocity = Callable[[Float[Tensor, "b s c h w"], Float[Tensor, "b s"]], Float[Tensor, "b s c h w"]]
KnownFrames = tuple[Float[Tensor, "b _ c h w"], Float[Tensor, "b _"]]  # frames that do not move, and their noise levels
KnownAt = Callable[[float], KnownFrames]  # the same where they move along: at the noise level of the others


def sample_part(
    velocity: FrameVelocity,
    noise: Float[Tensor, "b n c h w"],
    scheduler: Scheduler,
    num_steps: int,
    before: KnownFrames | KnownAt,
    after: KnownFrames | None = None,
    on_step_end: StepEnd | None = None,
) -> Float[Tensor, "b n c h w"]:
    """Latents in the place of `noise`, between the frames `before` and `after` it, all of them in the view of `velocity`.

    Raises:
        ValueError: when num_steps is less than 1.
    """
    count, right = noise.shape[1], [] if after is None else [after]

    def part(x: Tensor, t: float) -> Tensor:
        left, moving = before(t) if callable(before) else before, (x, torch.full(x.shape[:2], t, device=x.device))
        first = left[0].shape[1]
        frames, levels = (torch.cat(pieces, dim=1) for pieces in zip(left, moving, *right, strict=True))
        return velocity(frames, levels)[:, first : first + count]

    return sample(part, noise, scheduler, num_steps, on_step_end)
