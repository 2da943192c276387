"""Laws of Muon: PyTorch's own steps, in a precision of one's choice."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from malt.training.engine.muon import Muon, orthogonalize


def matrices() -> list[nn.Parameter]:
    chance = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=chance)) for shape in ((12, 4), (4, 12), (6, 6))]


def descend(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    parameters = list(parameters)
    for step in range(3):
        for number, parameter in enumerate(parameters):
            chance = torch.Generator().manual_seed(100 * step + number)
            parameter.grad = torch.randn(parameter.shape, generator=chance)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_in_bfloat16_its_steps_are_those_of_pytorch_to_the_bit() -> None:
    mine, theirs = matrices(), matrices()
    found = descend(Muon(mine, lr=0.02, weight_decay=0.1), mine)
    like = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for here, there in zip(found, descend(like, theirs), strict=True):
        assert torch.equal(here, there)


def test_in_float32_they_differ_by_rounding() -> None:
    mine, theirs = matrices(), matrices()
    found = descend(Muon(mine, lr=0.02, weight_decay=0.1, precision=torch.float32), mine)
    for here, there in zip(found, descend(Muon(theirs, lr=0.02, weight_decay=0.1), theirs), strict=True):
        assert not torch.equal(here, there)
        torch.testing.assert_close(here, there, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(12, 4), (4, 12)])
def test_the_singular_values_of_a_step_are_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(
        orthogonalize(torch.randn(shape, generator=torch.Generator().manual_seed(1)), torch.float32)
    )
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_a_gradient_is_left_as_it_is_and_one_that_is_missing_changes_nothing() -> None:
    taught, left = matrices()[:2]
    before, gradient = left.detach().clone(), torch.ones(12, 4)
    taught.grad = gradient.clone()
    Muon([taught, left], lr=0.02, weight_decay=0.1, precision=torch.float32).step()
    assert torch.equal(taught.grad, gradient)
    assert torch.equal(left, before)


def test_matrices_of_one_shape_are_changed_together_as_one_by_one() -> None:
    both = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))
    together = orthogonalize(both, torch.float32)
    for matrix, direction in zip(both, together, strict=True):
        torch.testing.assert_close(direction, orthogonalize(matrix, torch.float32), rtol=0, atol=1e-5)
