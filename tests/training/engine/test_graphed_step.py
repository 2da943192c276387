"""Laws of a step as one CUDA graph: it learns what the same step kernel by kernel does."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import transformers.masking_utils
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from malt.data.batch import Batch
from malt.diffusion.caption import Caption
from malt.errors import MaltError
from malt.memory.registry import KINDS
from malt.models.capturing import is_capturing
from malt.training.adapted_base import AdaptedModel
from malt.training.engine.gradients import EagerStep, StepGradients
from malt.training.engine.graphed_step import GraphedStep, _recordable
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.distillation import DistillationObjective, StudentConfig, Teacher
from malt.training.objectives.rng import Generators, StepRandom
from tiny_bases import SIDE, TEXT, TINY_BASES
from tiny_examples import CAPTIONS, Examples, asked, captioned, task

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
    """Refuses what no graph can have while it is captured: tensors made of the host's numbers, or copied from there."""

    made_of_numbers = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor)
    copying = (Tensor.to, Tensor.copy_)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        assert function not in self.made_of_numbers, "a tensor is made of numbers of the host"
        made = function(*args, **(kwargs or {}))
        if function in self.copying:
            given = {each.device for each in args if isinstance(each, Tensor)}
            assert given == {made.device}, "a tensor is copied from the host"
        return made


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a graph is recorded: what is drawn is there without values, and nothing asks for them."""
    own = StepRandom._own
    monkeypatch.setattr(StepRandom, "_own", lambda rng, drawn: torch.empty_like(own(rng, drawn), device=META))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(transformers.masking_utils, "is_tracing", lambda *_given: True)
    monkeypatch.setattr(torch, "autocast", lambda *_given, **_options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _device: False)


def check_recordable(learner: DenoisingObjective) -> None:
    """A loss and its gradients follow from tensors on the device alone."""
    inputs, generators = learner.inputs(0), Generators.on(torch.device("cpu"))
    learner.loss_of(learner.objective(0), inputs, generators)  # what is kept of a step is kept before the capture
    with FromTheHost():
        loss, figures = learner.loss_of(learner.objective(0), inputs, generators)
        loss.backward()
    assert {loss.device, *(figure.device for figure in figures.values())} == {META}


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
def test_a_loss_asks_nothing_of_the_device_and_brings_it_nothing(kind: str, recorded: None) -> None:
    for learner in objectives(kind):
        check_recordable(learner)


# Clean latent frames of context before a segment; a base with one noise level for all frames takes none.
CONTEXT = {"wan": 1, "skyreels-v2": 1, "ltx-video": 1, "hunyuan-video": 0, "sana-video": 0, "motif-video": 0}


def adapting(name: str) -> DenoisingObjective:
    """A memory on a base learns, and a LoRA, from own segments, on a device without values."""
    tiny = TINY_BASES[name]
    reads = {} if tiny.beside else {"read": "behind"}
    model = tiny.adapted(context_frames=CONTEXT[name], lora_rank=2, **reads).train().to(META)
    model.adapter.requires_grad_(True)

    def text(captions: Sequence[str]) -> Caption:
        told = {name: torch.empty(len(captions), *shape, device=META) for name, shape in tiny.added}
        mask = torch.ones(len(captions), TEXT, dtype=torch.bool, device=META)
        return Caption(torch.empty(len(captions), TEXT, tiny.text_width, device=META), mask, told)

    def examples(step: int, videos: int, frames: int, context: int, share: float, far: int = 0) -> Batch:
        latents = torch.empty(videos, context + frames, tiny.channels, SIDE, SIDE)
        return Batch(latents, CAPTIONS[:videos], torch.zeros(videos, dtype=torch.bool), None)

    stages = (Stage(until=9, objectives=(asked(num_segments=3, bptt_segments=1, prob=0.5, student_steps=2),)),)
    return DenoisingObjective(AdaptedModel(model, text), examples, stages, 0, torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTEXT)
def test_the_loss_of_an_adapter_asks_nothing_of_the_device_and_brings_it_nothing(name: str, recorded: None) -> None:
    check_recordable(adapting(name))


@pytest.mark.parametrize(("is_begun", "is_asked"), [(False, False), (True, True)])
def test_a_process_that_uses_no_gpu_is_not_made_to_by_asking_for_a_capture(
    is_begun: bool, is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Mock(return_value=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_begun)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", ask)
    assert not is_capturing()
    assert ask.called == is_asked


def test_a_step_that_cannot_be_recorded_is_said_in_a_sentence() -> None:
    with (
        pytest.raises(MaltError, match=r"cannot be one CUDA graph \(a copy from the host\); go on with --resume"),
        _recordable(),
    ):
        raise RuntimeError("a copy from the host\nand much more")
    with pytest.raises(torch.OutOfMemoryError), _recordable():
        raise torch.OutOfMemoryError("no room")
