"""Laws of a pretrained base's steps: its own noise levels, and its own timesteps told."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin, UniPCMultistepScheduler
from torch import Tensor

from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.sampling import noise_levels, sample

UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
SCHEDULERS = {
    "UniPC": lambda: UniPCMultistepScheduler(**UNIPC),
    "Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_model_is_told_the_timesteps_that_its_own_pipeline_would_tell(make: type[SchedulerMixin]) -> None:
    told: list[float] = []

    def note(x: Tensor, level: float) -> Tensor:
        told.append(level)
        return x

    sample(note, torch.zeros(1, 1, 1, 1, 1), BaseSchedule(make()), 6)
    own = make()
    own.set_timesteps(6)
    assert told == pytest.approx((own.timesteps / 1000).tolist(), abs=1e-9)


def test_noise_levels_before_the_shift_are_the_given_ones() -> None:
    given = BaseSchedule(FlowMatchEulerDiscreteScheduler(shift=2.0), sigmas=lambda n: [1.0, 0.5])
    assert noise_levels(given, 2).tolist() == pytest.approx([1.0, 2 / 3, 0.0])


def test_a_scheduler_that_shifts_by_resolution_is_told_how_far() -> None:
    schedule = BaseSchedule(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), mu=0.8)
    own = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    own.set_timesteps(4, mu=0.8)
    assert torch.equal(noise_levels(schedule, 4), own.sigmas)
