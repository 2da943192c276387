"""Laws of the Frechet distance."""

import pytest
import torch
from torch import Tensor

from malt.evaluation.metrics.frechet_distance import Gaussian, frechet_distance, frechet_of, gaussian_of


def drawn(num: int, dim: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_set_is_no_distance_from_itself() -> None:
    for num in (200, 4):  # the second has fewer features than dimensions
        features = drawn(num) @ torch.diag(torch.arange(1.0, 7.0).double())
        assert frechet_of(features, features) == pytest.approx(0, abs=1e-5)


def test_gaussians_whose_covariances_commute_have_the_closed_form() -> None:
    means, deviations = (
        torch.tensor([[0.0, 1, 2], [2, 1, -1]]).double(),
        torch.tensor([[1.0, 2, 3], [2, 2, 0.5]]).double(),
    )
    one, other = (Gaussian(m, torch.diag(s**2)) for m, s in zip(means, deviations, strict=True))
    wanted = (means[0] - means[1]).square().sum() + (deviations[0] - deviations[1]).square().sum()
    assert frechet_distance(one, other) == pytest.approx(float(wanted))


def test_covariances_that_do_not_commute_have_the_value_of_the_definition() -> None:
    a, b = (torch.cov(drawn(50, 3, seed).T) for seed in (1, 2))
    values = torch.linalg.eigvals(a @ b)  # of the product, the roots of these sum to the trace of its root
    wanted = a.trace() + b.trace() - 2 * values.real.sqrt().sum()
    mean = torch.zeros(3).double()
    assert frechet_distance(Gaussian(mean, a), Gaussian(mean, b)) == pytest.approx(float(wanted), abs=1e-9)


def test_it_is_the_same_from_either_side() -> None:
    one, other = drawn(40, seed=1), 2 * drawn(60, seed=2) + 1
    assert frechet_of(one, other) == pytest.approx(frechet_of(other, one))


def test_it_grows_with_noise() -> None:
    features = drawn(400)
    distances = [frechet_of(features, features + scale * drawn(400, seed=3)) for scale in (0, 0.5, 1, 2)]
    assert distances == sorted(distances)
    assert distances[3] > 4 * distances[2]


def test_it_finds_the_gaussian_that_features_were_drawn_from() -> None:
    found = gaussian_of(3 * drawn(200_000, 2) + 5)
    assert torch.allclose(found.mean, torch.full((2,), 5.0).double(), atol=0.05)
    assert torch.allclose(found.covariance, 9 * torch.eye(2).double(), atol=0.15)


def test_a_single_feature_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        gaussian_of(drawn(1))
