"""Laws of the straight paths between latents and noise."""

import pytest
import torch
from torch import Tensor

from malt.diffusion.flow import denoised, interpolate, logit_normal, velocity


@pytest.fixture
def ends() -> tuple[Tensor, Tensor]:
    x0, eps = torch.randn(2, 2, 3, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x0, eps


def test_a_path_begins_at_the_latents_and_ends_at_the_noise(ends: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(interpolate(*ends, torch.zeros(2, 3, dtype=torch.float64)), ends[0])
    assert torch.equal(interpolate(*ends, torch.ones(2, 3, dtype=torch.float64)), ends[1])


def test_the_velocity_is_the_slope_of_the_path_everywhere(ends: tuple[Tensor, Tensor]) -> None:
    level, step = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), 1e-3
    slope = (interpolate(*ends, level + step) - interpolate(*ends, level)) / step
    torch.testing.assert_close(slope, velocity(*ends), rtol=0, atol=1e-10)


def test_every_frame_goes_by_its_own_noise_level(ends: tuple[Tensor, Tensor]) -> None:
    x0, eps = ends
    level = torch.tensor([[0.0, 0.5, 1.0], [1.0, 0.25, 0.0]], dtype=torch.float64)
    xt = interpolate(x0, eps, level)
    for video, frame in torch.cartesian_prod(torch.arange(2), torch.arange(3)):
        t = level[video, frame]
        assert torch.equal(xt[video, frame], (1 - t) * x0[video, frame] + t * eps[video, frame])


def test_from_anywhere_on_the_path_the_velocity_points_back_to_the_latents(ends: tuple[Tensor, Tensor]) -> None:
    level = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(denoised(interpolate(*ends, level), velocity(*ends), level), ends[0])


def test_noise_levels_are_inside_the_unit_interval_with_a_normal_logit() -> None:
    normal = torch.randn(20_000, generator=torch.Generator().manual_seed(3))
    level = logit_normal(normal, mean=0.3, std=0.8)
    assert 0 < level.min() < level.max() < 1
    torch.testing.assert_close(level.logit(), 0.3 + 0.8 * normal, rtol=0, atol=1e-4)
    assert level.median() == pytest.approx(torch.sigmoid(torch.tensor(0.3)).item(), abs=0.01)
