"""Mochi, whose scheduler counts from noise to video, by small steps first and by growing ones behind them."""

from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.schedulers import flow_scheduler
from malt.pipelines.bases.parts import MaskedTextParts

SMALL_STEPS_END = 0.025  # how far from noise, as its pipeline has it


class MochiParts(MaskedTextParts):
    """30 frames a second; it learned clips of 163 frames, of which its pipeline makes 19 where a call does not say."""

    frame_rate = 30.0
    num_frames = 163

    @property
    def frame_size(self) -> tuple[int, int]:
        """That of the pipeline."""
        return self.pipe.default_height, self.pipe.default_width

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Its own steps, told as noise levels that fall."""
        own = self.pipe.scheduler
        falling = type(own).from_config(own.config, invert_sigmas=False)
        return BaseSchedule(flow_scheduler(falling, num_steps), falling_levels)


def falling_levels(num_steps: int) -> list[float]:
    """Half of the steps small and alike, half of them growing; a single step is the whole way."""
    return (
        [1.0] if num_steps == 1 else [float(level) for level in linear_quadratic_schedule(num_steps, SMALL_STEPS_END)]
    )
