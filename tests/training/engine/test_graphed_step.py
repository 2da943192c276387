"""Laws of a step as one CUDA graph: it learns what the same step kernel by kernel does."""

import pytest
import torch
from torch import Tensor, nn

from malt.training.engine.gradients import EagerStep, StepGradients
from malt.training.engine.graphed_step import GraphedStep
from tiny_examples import captioned, task


def learned(gradients: StepGradients, module: nn.Module, step: int) -> dict[str, Tensor]:
    """The loss and the gradients of a step, by name; those of weights that did not take part are zero."""
    loss, _ = gradients(step)
    found = {"loss": loss.detach().clone()}
    for name, parameter in module.named_parameters():
        found[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
    gradients.clear()
    return found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("prob", [0.0, 0.5])
def test_a_graphed_step_has_the_loss_and_the_gradients_of_an_eager_one(prob: float) -> None:
    objective = task(model=captioned().cuda(), num_segments=3, prob=prob)
    steps = (0, 1, 0)
    eager = [learned(EagerStep(objective), objective.module, step) for step in steps]
    graphed = GraphedStep(objective)
    for step, expected in zip(steps, eager, strict=True):
        torch.testing.assert_close(learned(graphed, objective.module, step), expected, rtol=1e-2, atol=1e-4)
