"""Laws of a step as one CUDA graph: it learns what the same step kernel by kernel does."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import transformers.masking_utils
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import malt.models.attention
from malt.memory.registry import KINDS
from malt.training.engine.gradients import EagerStep, StepGradients
from malt.training.engine.graphed_step import GraphedStep
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.distillation import DistillationObjective, StudentConfig, Teacher
from malt.training.objectives.rng import Generators, StepRandom
from tiny_examples import Examples, asked, captioned, task

META = torch.device("meta")  # where nothing can be asked for: it holds no values
STEERED = {"action_dim": 8, "motion": (0.1, 0.2)}
DISTILLED = {"guidance_scale": [1.0, 5.0], "memory_guidance_scale": [1.0, 3.0], "num_inference_steps": [2]}


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


class FromTheHost(TorchFunctionMode):
    """Refuses tensors that are made of numbers, which no graph can have copied to a device while it is captured."""

    made_of_numbers = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        assert function not in self.made_of_numbers, "a tensor is made of numbers of the host"
        return function(*args, **(kwargs or {}))


def objectives(kind: str) -> list[DenoisingObjective]:
    """Denoising, and distillation by a teacher in half precision, over own segments, on a device without values."""
    model = {"memory": kind, **STEERED}
    stages = (Stage(until=9, objectives=(asked(num_segments=3, bptt_segments=1, prob=0.5, student_steps=2),)),)
    examples = Examples(action_dim=8)
    plain, told = (captioned(**model, **more).to(META) for more in ({}, {"distilled": DISTILLED}))
    told.text_encoder.requires_grad_(False)
    teaching = captioned(**model).requires_grad_(False).to(META, torch.bfloat16)
    teacher = Teacher(teaching.transformer, 3.0, 2.0, 3.0)
    given = examples, stages, 0, torch.float32
    return [
        DenoisingObjective(plain, *given),
        DistillationObjective(told, *given, teacher=teacher, student=StudentConfig(teacher_steps=2)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_asks_nothing_of_the_device_and_brings_it_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = StepRandom._own
    monkeypatch.setattr(StepRandom, "_own", lambda rng, drawn: own(rng, drawn).to(META))
    monkeypatch.setattr(malt.models.attention, "is_capturing", lambda: True)
    monkeypatch.setattr(transformers.masking_utils, "is_tracing", lambda *_given: True)
    monkeypatch.setattr(torch, "autocast", lambda *_given, **_options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _device: False)
    for learner in objectives(kind):
        inputs, generators = learner.inputs(0), Generators.on(torch.device("cpu"))
        learner.loss_of(learner.objective(0), inputs, generators)  # what is kept of a step is kept before the capture
        with FromTheHost():
            loss, figures = learner.loss_of(learner.objective(0), inputs, generators)
            loss.backward()
        assert {loss.device, *(figure.device for figure in figures.values())} == {META}
