"""Laws of schedulers: they follow the flow, whatever their config takes the network for, or are refused in a sentence."""

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    LCMScheduler,
    PNDMScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from torch import Tensor

from malt.diffusion.sampling import noise_levels, sample
from malt.diffusion.schedulers import flow_scheduler
from malt.errors import UsageError

PACKAGED = FlowMatchEulerDiscreteScheduler(shift=3.0)
MEAN, STD = 0.7, 0.5
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def velocity(x: Tensor, t: float) -> Tensor:
    """E[eps - x_0 | x_t] for latents from N(MEAN, STD^2); its flow takes noise eps to MEAN + STD eps."""
    keep = 1 - t
    return (t - keep * STD**2) / (keep**2 * STD**2 + t**2) * (x - keep * MEAN) - MEAN


def error(scheduler: SchedulerMixin, num_steps: int) -> float:
    noise = torch.randn(1, 2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = sample(velocity, noise, flow_scheduler(scheduler, num_steps), num_steps)
    return float((found - MEAN - STD * noise).abs().max())


FOLLOW = [
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
]


@pytest.mark.parametrize("kind", FOLLOW)
def test_a_scheduler_by_the_usual_line_comes_as_near_to_gaussian_data_as_there_are_steps(kind: Any) -> None:
    scheduler = kind.from_config(PACKAGED.config)
    few, many = error(scheduler, 16), error(scheduler, 64)
    assert many < 0.1
    assert many < few / 2.5


@pytest.mark.parametrize("kind", FOLLOW)
def test_a_scheduler_that_was_saved_and_loaded_is_as_right(kind: Any, tmp_path: Any) -> None:
    scheduler = kind.from_config(PACKAGED.config)
    scheduler.save_pretrained(tmp_path)
    assert error(kind.from_pretrained(tmp_path), 8) == error(scheduler, 8)


@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, DPMSolverMultistepScheduler])
def test_a_scheduler_by_the_usual_line_keeps_the_models_shift(kind: Any) -> None:
    by_line = flow_scheduler(kind.from_config(PACKAGED.config), 6)
    torch.testing.assert_close(noise_levels(by_line, 6), noise_levels(kind(**FLOW, flow_shift=3.0), 6))
    own = flow_scheduler(kind.from_config(PACKAGED.config, flow_shift=5.0), 6)
    torch.testing.assert_close(noise_levels(own, 6), noise_levels(kind(**FLOW, flow_shift=5.0), 6))


@pytest.mark.parametrize("scheduler", [PACKAGED, UniPCMultistepScheduler(**FLOW), FlowMatchHeunDiscreteScheduler()])
def test_a_scheduler_that_follows_the_flow_already_stays_as_it_is(scheduler: SchedulerMixin) -> None:
    assert flow_scheduler(scheduler, 4) is scheduler


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            EulerDiscreteScheduler,
            "the EulerDiscreteScheduler does not lead where the flow of this model leads; use Flow",
        ),
        (DDIMScheduler, "the DDIMScheduler cannot follow the flow that this model predicts; use Flow"),
        (LCMScheduler, "the LCMScheduler cannot follow the flow"),
        (PNDMScheduler, "the PNDMScheduler cannot follow the flow"),
        (FlowMatchLCMScheduler, "the FlowMatchLCMScheduler draws noise of its own"),
        (EulerAncestralDiscreteScheduler, "the EulerAncestralDiscreteScheduler draws noise of its own"),
    ],
)
def test_any_other_scheduler_is_refused_in_a_sentence(kind: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        flow_scheduler(kind.from_config(PACKAGED.config), 4)


@pytest.mark.parametrize("config", [{"invert_sigmas": True}, {"stochastic_sampling": True}])
def test_a_flow_matching_scheduler_with_a_setting_that_does_not_fit_is_refused(config: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match="the FlowMatchEulerDiscreteScheduler"):
        flow_scheduler(FlowMatchEulerDiscreteScheduler(**config), 4)


def test_a_scheduler_is_tried_without_touching_the_global_seed() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    flow_scheduler(PACKAGED, 4)
    with pytest.raises(UsageError):
        flow_scheduler(FlowMatchLCMScheduler(), 4)
    assert torch.equal(torch.get_rng_state(), before)
