"""Laws of sampling, on Gaussian data, for which the velocity and its flow are known in closed form."""

from collections.abc import Callable

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from torch import Tensor

from malt.diffusion.sampling import noise_levels, sample

MEAN, STD = 0.7, 0.5
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SCHEDULERS: dict[str, Callable[[], SchedulerMixin]] = {
    "Euler": FlowMatchEulerDiscreteScheduler,
    "Euler, shifted": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "Euler, shifted by resolution": lambda: FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    "Heun": FlowMatchHeunDiscreteScheduler,
    "UniPC": lambda: UniPCMultistepScheduler(**FLOW),
    "DPM-Solver": lambda: DPMSolverMultistepScheduler(**FLOW),
}


@pytest.fixture(params=[*SCHEDULERS.values()], ids=[*SCHEDULERS])
def scheduler(request: pytest.FixtureRequest) -> SchedulerMixin:
    return request.param()


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))


def gaussian(std: float) -> Callable[[Tensor, float], Tensor]:
    """The velocity E[eps - x_0 | x_t] for latents from N(MEAN, std^2); its flow takes noise eps to MEAN + std eps."""

    def velocity(x: Tensor, t: float) -> Tensor:
        keep = 1 - t
        return (t - keep * std**2) / (keep**2 * std**2 + t**2) * (x - keep * MEAN) - MEAN

    return velocity


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_every_sampler_is_exact_where_paths_are_straight(
    scheduler: SchedulerMixin, noise: Tensor, num_steps: int
) -> None:
    found = sample(gaussian(std=1e-9), noise, scheduler, num_steps)
    torch.testing.assert_close(found, torch.full_like(noise, MEAN), rtol=0, atol=1e-5)


def test_every_sampler_comes_as_near_to_gaussian_data_as_there_are_steps(
    scheduler: SchedulerMixin, noise: Tensor
) -> None:
    few, many = ((sample(gaussian(STD), noise, scheduler, n) - MEAN - STD * noise).abs().max() for n in (16, 64))
    assert many < 0.1
    assert many < few / 2.5


def test_a_sampler_asks_for_velocities_only_at_noise_levels_between_one_and_nothing(
    scheduler: SchedulerMixin, noise: Tensor
) -> None:
    levels = []

    def noting(x: Tensor, t: float) -> Tensor:
        levels.append(t)
        return gaussian(STD)(x, t)

    sample(noting, noise, scheduler, 4)
    assert levels[0] == pytest.approx(1.0, abs=2e-3)
    assert levels == sorted(levels, reverse=True)
    assert 0 < levels[-1] < 1


def test_a_scheduler_that_is_handed_in_is_not_changed(scheduler: SchedulerMixin, noise: Tensor) -> None:
    before = {name: str(value) for name, value in vars(scheduler).items()}
    first = sample(gaussian(STD), noise, scheduler, 3)
    assert {name: str(value) for name, value in vars(scheduler).items()} == before
    assert torch.equal(first, sample(gaussian(STD), noise, scheduler, 3))


def test_noise_that_is_handed_in_is_not_changed(scheduler: SchedulerMixin, noise: Tensor) -> None:
    before = noise.clone()
    sample(gaussian(STD), noise, scheduler, 2)
    assert torch.equal(noise, before)


def test_the_end_of_every_step_is_heard_and_may_change_the_latents(scheduler: SchedulerMixin, noise: Tensor) -> None:
    heard: list[int] = []

    def hear(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        heard.append(step)
        return latents

    usual = sample(gaussian(STD), noise, scheduler, 3)
    assert torch.equal(sample(gaussian(STD), noise, scheduler, 3, hear), usual)
    assert heard == [*range(len(heard))]
    assert len(heard) >= 3
    last = heard[-1]
    changed = sample(gaussian(STD), noise, scheduler, 3, lambda step, _, x: x * 0 if step == last else x)
    assert not changed.any()


@pytest.mark.parametrize("num_steps", [0, -1])
def test_less_than_one_step_is_refused_in_a_sentence(noise: Tensor, num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"asked for {num_steps} sampling steps; give at least 1"):
        sample(gaussian(STD), noise, FlowMatchEulerDiscreteScheduler(), num_steps)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_no_step_of_the_default_sampler_is_lost_on_next_to_no_noise(shift: float) -> None:
    levels = noise_levels(FlowMatchEulerDiscreteScheduler(shift=shift), 4)
    equal = torch.linspace(1, 0, 5)
    torch.testing.assert_close(levels, shift * equal / (1 + (shift - 1) * equal))
