"""Laws of the memory regularisation loss."""

import math

import pytest
import torch
from torch import Tensor

from malt.memory.regularisation import memory_regularisation, regularisation
from malt.memory.state import State


def tokens(seed: int = 0, videos: int = 2, places: int = 5, width: int = 6) -> Tensor:
    return torch.randn(videos, places, width, generator=torch.Generator().manual_seed(seed))


def written_out(memory: list[list[list[float]]], normalize: bool) -> float:
    """The formula in plain sums, term by term."""
    redundant, diverse = [], []
    for video in memory:
        lengths = [math.sqrt(sum(x * x for x in token)) for token in video]
        if normalize:
            video = [[x / length for x in token] for token, length in zip(video, lengths, strict=True)]
        for i, one in enumerate(video):
            mean = sum(one) / len(one)
            diverse.append(math.sqrt(sum((x - mean) ** 2 for x in one) / (len(one) - 1)))
            for j, other in enumerate(video):
                if i != j or not normalize:
                    redundant.append(sum(x * y for x, y in zip(one, other, strict=True)) ** 2)
    return sum(redundant) / len(redundant) - 0.1 * sum(diverse) / len(diverse)


@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_formula(normalize: bool) -> None:
    found = regularisation(tokens(), normalize=normalize)
    assert found.item() == pytest.approx(written_out(tokens().tolist(), normalize), rel=1e-5)


def test_the_plain_form_is_the_formula_in_tensors() -> None:
    M = tokens()
    formula = (M @ M.transpose(1, 2)).square().mean() - 0.1 * M.std(dim=2).mean()
    torch.testing.assert_close(regularisation(M, normalize=False), formula)


@pytest.mark.parametrize("normalize", [True, False])
def test_places_not_written_yet_count_for_nothing(normalize: bool) -> None:
    valid = torch.tensor([True, False, True, True, False]).expand(2, -1)
    found = regularisation(tokens(), valid, normalize)
    torch.testing.assert_close(found, regularisation(tokens()[:, [0, 2, 3]], normalize=normalize))
    assert regularisation(tokens(), torch.zeros_like(valid), normalize).item() == 0


def test_tokens_all_alike_are_dearer_than_tokens_at_right_angles() -> None:
    alike, apart = torch.eye(6)[[0]].expand(5, -1)[None], torch.eye(6)[None, :5]
    assert regularisation(alike).item() == pytest.approx(1 + regularisation(apart).item())


def test_the_length_of_tokens_counts_in_the_plain_form_alone() -> None:
    torch.testing.assert_close(regularisation(3 * tokens()), regularisation(tokens()))
    assert regularisation(3 * tokens(), normalize=False) > regularisation(tokens(), normalize=False)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_step_down_its_gradient_makes_it_less(normalize: bool) -> None:
    M = tokens().requires_grad_()
    before = regularisation(M, normalize=normalize)
    (gradient,) = torch.autograd.grad(before, M)
    assert torch.isfinite(gradient).all()
    assert regularisation(M - 1e-3 * gradient, normalize=normalize) < before


def test_tokens_of_nothing_but_zeros_have_a_finite_gradient_where_they_do_not_count() -> None:
    M = torch.zeros(1, 4, 3, requires_grad=True)
    regularisation(M, torch.zeros(1, 4, dtype=torch.bool)).backward()
    assert M.grad is not None
    assert torch.isfinite(M.grad).all()


def test_that_of_a_memory_is_the_sum_over_its_layers_and_layers_without_places_add_nothing() -> None:
    one, other = (State(tokens(seed), torch.ones(2, 5, dtype=torch.bool)) for seed in (1, 2))
    nothing = State(torch.zeros(2, 0, 6), torch.zeros(2, 0, dtype=torch.bool))
    torch.testing.assert_close(
        memory_regularisation((one, nothing, other)), regularisation(one.tokens) + regularisation(other.tokens)
    )
    assert memory_regularisation((nothing,)).item() == 0


def test_it_is_computed_in_full_precision_whatever_the_rest_is() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = regularisation(tokens())
    assert torch.equal(found, regularisation(tokens()))
