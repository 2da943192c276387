"""Rolling sampling: the frames of a window stand on a staircase of noise levels, and go down it together.

Rolling Diffusion Models (arXiv:2402.09470), FIFO-Diffusion (arXiv:2405.11473), Diffusion Forcing (arXiv:2407.01392).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.partial import FrameVelocity
from malt.diffusion.sampling import Scheduler, noise_levels


@dataclass(frozen=True)
class RollingSchedule:
    """A window of `num_frames` frames, the oldest furthest down; after `steps_per_frame` steps each is in the next one's place.

    levels: all noise levels that a frame goes through, from 1 to 0 (num_frames x steps_per_frame + 1,).
    """

    levels: Float[Tensor, " n"]
    num_frames: int
    steps_per_frame: int

    @classmethod
    def of(cls, scheduler: Scheduler, num_frames: int, num_steps: int) -> "RollingSchedule":
        """The noise levels of `scheduler`; a frame takes as nearly `num_steps` steps as a multiple of `num_frames` can be."""
        steps_per_frame = max(1, round(num_steps / num_frames))
        return cls(noise_levels(scheduler, num_frames * steps_per_frame), num_frames, steps_per_frame)

    def warm_up(self, velocity: FrameVelocity, noise: Float[Tensor, "b n c h w"]) -> Float[Tensor, "b n c h w"]:
        """A window of pure noise brought onto the staircase: its first frame starts first, its last has yet to start."""
        return self._descend(velocity, noise, (1 - self.num_frames) * self.steps_per_frame, 0)

    def advance(self, velocity: FrameVelocity, window: Float[Tensor, "b n c h w"]) -> Float[Tensor, "b n c h w"]:
        """The window one place further down: its first frame is finished, and there is room for noise behind its last."""
        return self._descend(velocity, window, 0, self.steps_per_frame)

    @torch.no_grad()
    def _descend(self, velocity: FrameVelocity, window: Tensor, first: int, end: int) -> Tensor:
        """Euler steps `first` to `end`, where at step 0 the last frame starts."""
        places = torch.arange(self.num_frames - 1, -1, -1) * self.steps_per_frame
        for step in range(first, end):
            now, then = (self.levels[(places + at).clamp(min=0)].to(window) for at in (step, step + 1))
            fall = (then - now)[None, :, None, None, None]
            window = window + fall * velocity(window, now.expand(len(window), -1))
        return window
