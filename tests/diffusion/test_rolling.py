"""Laws of rolling sampling, where paths are straight: there every frame that leaves the window is the data itself."""

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

from malt.diffusion.rolling import RollingSchedule
from malt.diffusion.sampling import noise_levels

MEAN = 0.7
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SCHEDULERS: list[SchedulerMixin] = [
    FlowMatchEulerDiscreteScheduler(),
    FlowMatchEulerDiscreteScheduler(shift=3.0),
    FlowMatchHeunDiscreteScheduler(),
    UniPCMultistepScheduler(**FLOW),
    DPMSolverMultistepScheduler(**FLOW),
]


def straight(x: Tensor, levels: Tensor) -> Tensor:
    """The velocity of data that is MEAN everywhere, whatever the noise level of each frame."""
    t = levels[:, :, None, None, None]
    return (x - (1 - t) * MEAN) / t.clamp(min=1e-6) - MEAN


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("num_steps", [1, 2, 6])
def test_noise_levels_fall_from_noise_to_nothing_in_so_many_steps(scheduler: SchedulerMixin, num_steps: int) -> None:
    levels = noise_levels(scheduler, num_steps)
    assert len(levels) == num_steps + 1
    assert levels[0] == pytest.approx(1.0, abs=2e-3)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("num_frames", "num_steps"), [(1, 3), (4, 4), (3, 6), (5, 2)])
def test_the_frame_that_leaves_is_finished_and_the_others_lie_as_far_down_as_they_stand(
    scheduler: SchedulerMixin, num_frames: int, num_steps: int
) -> None:
    noise = torch.randn(2, num_frames, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    schedule = RollingSchedule.of(scheduler, num_frames, num_steps)
    window = schedule.advance(straight, schedule.warm_up(straight, noise))
    places = torch.arange(num_frames, 0, -1) * schedule.steps_per_frame
    level = (schedule.levels[places] / schedule.levels[0])[None, :, None, None, None]
    assert level[0, 0] == 0
    start = schedule.levels[0]
    clean = (noise - start * noise) + start * MEAN  # what is left of the noise where a schedule begins below level 1
    torch.testing.assert_close(window, level * noise + (1 - level) * clean, rtol=0, atol=5e-3)


def test_a_window_of_one_frame_never_waits() -> None:
    calls: list[float] = []

    def noting(x: Tensor, levels: Tensor) -> Tensor:
        calls.append(float(levels[0, 0]))
        return straight(x, levels)

    noise = torch.zeros(1, 1, 1, 1, 1)
    schedule = RollingSchedule.of(FlowMatchEulerDiscreteScheduler(), 1, 3)
    entered = schedule.warm_up(noting, noise)
    assert torch.equal(entered, noise)
    assert not calls
    schedule.advance(noting, entered)
    assert calls == noise_levels(FlowMatchEulerDiscreteScheduler(), 3)[:3].tolist()
