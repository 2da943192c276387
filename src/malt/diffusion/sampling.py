"""Integrate a velocity from noise to latents with a scheduler of diffusers."""

import copy
import inspect
from collections.abc import Callable
from typing import TypeAlias

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.base_schedule import BaseSchedule

Scheduler: TypeAlias = SchedulerMixin | BaseSchedule
Velocity = Callable[[Float[Tensor, "b s c h w"], float], Float[Tensor, "b s c h w"]]  # (x_t, noise level t) -> v
# (number of the step, its timestep, the latents behind it) -> the latents to go on from
StepEnd = Callable[[int, Tensor, Float[Tensor, "b s c h w"]], Float[Tensor, "b s c h w"]]


@torch.no_grad()
def sample(
    velocity: Velocity,
    noise: Float[Tensor, "b s c h w"],
    scheduler: Scheduler,
    num_steps: int,
    on_step_end: StepEnd | None = None,
) -> Tensor:
    """Latents at noise level 0, in `num_steps` steps of a copy of `scheduler`: schedulers keep state, sessions must not.

    Any flow-matching scheduler of diffusers serves (FlowMatchEuler, FlowMatchHeun, UniPC or DPM-Solver with
    `use_flow_sigmas`); its sigmas are the noise levels, or its timesteps where it comes as a `BaseSchedule`. `on_step_end`
    is called behind every step, and may change its latents.

    Raises:
        ValueError: when num_steps is less than 1.
    """
    steps = _prepared(scheduler, num_steps)
    levels = steps.timesteps / steps.config.num_train_timesteps if isinstance(scheduler, BaseSchedule) else steps.sigmas
    x = noise
    for index, timestep in enumerate(steps.timesteps):
        x = steps.step(velocity(x, float(levels[index])), timestep, x, return_dict=False)[0]
        x = x if on_step_end is None else on_step_end(index, timestep, x)
    return x


def noise_levels(scheduler: Scheduler, num_steps: int) -> Float[Tensor, " n"]:
    """The noise levels that `num_steps` steps of `scheduler` lead through, from noise to nothing: one more than steps.

    Raises:
        ValueError: when num_steps is less than 1.
    """
    levels: Tensor = torch.unique_consecutive(torch.as_tensor(_prepared(scheduler, num_steps).sigmas))
    return levels


def _prepared(scheduler: Scheduler, num_steps: int) -> SchedulerMixin:
    if num_steps < 1:
        raise ValueError(f"asked for {num_steps} sampling steps; give at least 1")
    if isinstance(scheduler, BaseSchedule):
        return scheduler.prepared(num_steps)
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_steps, **_equal_steps(scheduler, num_steps), **_shift(scheduler))
    return scheduler


def _equal_steps(scheduler: SchedulerMixin, num_steps: int) -> dict[str, list[float]]:
    """Noise levels before any shift. By itself this scheduler takes its last step from next to nothing, which is a step lost."""
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return {}
    return {"sigmas": [1 - n / num_steps for n in range(num_steps)]}


def _shift(scheduler: SchedulerMixin) -> dict[str, float]:
    """Schedulers that shift by resolution are told the shift for a short sequence."""
    dynamic = getattr(scheduler.config, "use_dynamic_shifting", False)
    takes_mu = "mu" in inspect.signature(scheduler.set_timesteps).parameters
    return {"mu": scheduler.config.base_shift} if dynamic and takes_mu else {}
