"""Laws of the running average of the weights."""

import pytest
import torch
from torch import nn

from malt.training.engine.ema import EMA


def linear(value: float) -> nn.Linear:
    module = nn.Linear(2, 2)
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)
    return module


def values(average: EMA) -> set[float]:
    return {round(x, 6) for value in average.values.values() for x in value.flatten().tolist()}


def test_the_average_of_weights_that_stand_still_is_these_weights() -> None:
    module = linear(0.3)
    average = EMA(module, decay=0.9)
    for step in range(5):
        average.update(module, step)
    assert values(average) == {0.3}


@pytest.mark.parametrize(("step", "moved"), [(0, 0.9), (10, 0.45), (10_000, 0.1)])
def test_the_first_steps_count_more_and_later_ones_by_the_decay(step: int, moved: float) -> None:
    average = EMA(linear(0.0), decay=0.9)
    average.update(linear(1.0), step)
    assert values(average) == {moved}


def test_a_model_learns_on_without_touching_the_average() -> None:
    module = linear(1.0)
    average = EMA(module, decay=0.9)
    nn.init.constant_(module.weight, 7.0)
    assert values(average) == {1.0}


def test_the_average_can_be_put_into_a_model_and_taken_out_whole() -> None:
    module, average = linear(5.0), EMA(linear(1.0), decay=0.9)
    average.copy_to(module)
    assert all(torch.equal(p, torch.ones_like(p)) for p in module.parameters())
    assert all(torch.equal(value, torch.ones_like(value)) for value in average.whole().values())
    assert average.whole().keys() == {"weight", "bias"}
