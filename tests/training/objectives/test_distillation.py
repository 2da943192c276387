"""Laws of learning few steps from a teacher of many."""

import copy
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from malt.diffusion.guidance import Guidance
from malt.diffusion.sampling import noise_levels
from malt.memory.registry import KINDS
from malt.models.transformer import MaltTransformer3DModel
from malt.rollouts.denoiser import GuidedVelocity
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedTransformer
from malt.training.objectives.distillation import DistillationObjective, StudentConfig, Teacher
from malt.training.objectives.segment_passes import Before, Scales, TeacherPasses
from malt.training.objectives.student_segments import unroll_teacher
from malt.training.objectives.unroll import unroll_memory
from tiny_examples import EXACT, NOTHING_LOST, Examples, asked, captioned, chance, untouched, window

DISTILLED: dict[str, list[float]] = {
    "guidance_scale": [1.0, 5.0],
    "memory_guidance_scale": [1.0, 3.0],
    "num_inference_steps": [1, 2, 4],
}
UNGUIDED: dict[str, Any] = {"guidance_scales": (1.0, 1.0), "memory_guidance_scales": (1.0, 1.0)}


def student(**model: Any) -> CaptionedTransformer:
    """A student that knows no more than its teacher, `untouched`, and is told nothing yet."""
    found = captioned(**{"distilled": DISTILLED} | model)
    torch.manual_seed(0)
    fresh = MaltTransformer3DModel(**dict(found.transformer.config)).step_conditioning
    found.transformer.step_conditioning.load_state_dict(fresh.state_dict())
    plain = captioned(**model).transformer
    found.transformer.load_state_dict(plain.state_dict(), strict=False)
    found.text_encoder.requires_grad_(False)
    return found


def teacher(scales: tuple[float, float] = (3.0, 2.0), **model: Any) -> Teacher:
    return Teacher(captioned(**model).transformer.requires_grad_(False), *scales, 3.0)


def distillation(
    module: CaptionedTransformer | None = None,
    config: Mapping[str, Any] | None = None,
    by: Teacher | None = None,
    **objective: Any,
) -> DistillationObjective:
    stages = (Stage(until=9, objectives=(asked(**{**EXACT, **NOTHING_LOST, **objective}),)),)
    return DistillationObjective(
        module or student(),
        Examples(),
        stages,
        0,
        torch.float32,
        teacher=by or teacher(),
        student=StudentConfig(**config or {}),
    )


def passes_of(model: torch.nn.Module) -> list[tuple[int, bool]]:
    """The batch of every pass of a model from now on, and whether it writes."""
    passes: list[tuple[int, bool]] = []
    model.register_forward_hook(
        lambda _module, _given, options, _made: passes.append(
            (len(options.get("latents", _given[0] if _given else ())), options.get("update_memory", True))
        ),
        with_kwargs=True,
    )
    return passes


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_of_as_many_steps_begins_as_its_teacher_without_guidance(kind: str) -> None:
    settings = UNGUIDED | {"teacher_steps": 3}
    learning = distillation(
        student(memory=kind), settings, teacher((1.0, 1.0), memory=kind), student_steps=3, num_segments=3
    )
    loss, figures = learning.loss(0)
    assert loss.item() < 1e-9 and set(figures) == {"3_steps_0", "3_steps_1", "3_steps_2"}


@pytest.mark.parametrize("method", ["trajectory", "shortcut"])
def test_the_step_alone_decides_what_is_drawn_and_the_loss_falls(method: str, tmp_path: Path) -> None:
    config = {"method": method, "teacher_steps": 4}
    learning = distillation(None, config, student_steps=2, num_segments=2)
    assert torch.equal(learning.loss(3)[0], distillation(None, config, student_steps=2, num_segments=2).loss(3)[0])
    plan = Optimization(num_steps=30, learning_rate=5e-3, muon_learning_rate=5e-3, warmup_steps=3)
    fit(learning, plan, tmp_path, log_every=1)
    found = [json.loads(line)["loss"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


def test_a_distillation_that_goes_on_is_the_same_to_the_bit(tmp_path: Path) -> None:
    def run(folder: Path, *ends: int) -> dict[str, Tensor]:
        for end in ends:
            learning = distillation(None, {"teacher_steps": 2}, student_steps=2, num_segments=2, prob=0.5)
            plan = Optimization(num_steps=4, muon_learning_rate=1e-3, warmup_steps=1, decay_from=1.0)
            loss = learning.loss

            def stopping(step: int, end: int = end, loss: Any = loss) -> Any:
                if step == end:
                    raise KeyboardInterrupt
                return loss(step)

            learning.loss = stopping
            try:
                fit(learning, plan, folder, save_seconds=1e-9)
            except KeyboardInterrupt:
                continue
        return {name: p.detach().clone() for name, p in learning.module.named_parameters()}

    whole, stopped = run(tmp_path / "whole", 9), run(tmp_path / "stopped", 2, 9)
    assert [name for name in whole if not torch.equal(whole[name], stopped[name])] == []


def test_a_teachers_guided_velocity_is_that_of_generation() -> None:
    model, (said, unsaid) = teacher().model, (untouched().caption([text] * 3) for text in ("a red circle", ""))
    latents = Examples()(0, 3, 6, 1, 0.0).latents
    memory = tiny_memory(model, latents)
    before = Before(latents[:, 2:3], torch.zeros(3, 1), None)
    passes = TeacherPasses(
        model,
        memory,
        (said, unsaid),
        before,
        Scales(torch.full((3,), 3.0), torch.full((3,), 2.0)),
        heeds_text=True,
        heeds_memory=True,
    )
    guided = Guidance(text=3.0, memory=2.0).prepare(memory, said, unsaid)
    levels = torch.cat([torch.zeros(3, 1), torch.full((3, 2), 0.7)], dim=1)
    expected = GuidedVelocity(model, guided, None, 1)(latents[:, 2:5], levels)[:, 1:]
    torch.testing.assert_close(passes.velocity(latents[:, 3:5], 0.7), expected)


def tiny_memory(model: Any, latents: Tensor) -> Any:
    return unroll_teacher(model, window(untouched(), latents), latents, asked(num_segments=3, denoise_segments=1))


def test_a_teacher_remembers_as_the_student_does_that_has_learned_nothing() -> None:
    latents, wanted = (
        Examples()(0, 3, 6, 1, 0.0).latents,
        asked(num_segments=3, num_noise_samples=2, **EXACT, **NOTHING_LOST),
    )
    own = unroll_memory(untouched().transformer, window(untouched(), latents), wanted, chance())
    its = unroll_teacher(untouched().transformer, window(untouched(), latents), own.seen, wanted)
    for one, other in zip(own.memory, its, strict=True):
        assert torch.equal(one.tokens, other.tokens) and torch.equal(one.valid, other.valid)


def test_a_step_leads_where_the_teachers_steps_lead() -> None:
    learning = distillation(None, {"teacher_steps": 6})
    steps = learning.steps(asked(student_steps=2))
    fine = noise_levels(FlowMatchEulerDiscreteScheduler(shift=3.0), 6).tolist()
    assert [list(step.levels) for step in steps] == [pytest.approx(fine[:4]), pytest.approx(fine[3:])]
    assert [step.halves[1] for step in steps] == pytest.approx([0.9, 0.5])
    assert all(first > second for step in steps for first, second in pairwise(step.levels))


def test_the_teacher_makes_three_passes_a_step_in_one_batch_and_the_student_one() -> None:
    module, by = student(), teacher()
    students, teachers = passes_of(module.transformer), passes_of(by.model)
    distillation(module, {"teacher_steps": 4}, by, student_steps=2, num_segments=1).loss(0)
    assert teachers == [(9, False)] * 4 and students == [(3, False)] * 2


def test_a_pass_that_never_counts_is_left_out() -> None:
    module, by = student(), teacher((1.0, 1.0))
    teachers = passes_of(by.model)
    distillation(module, UNGUIDED | {"teacher_steps": 2}, by, student_steps=2, num_segments=1).loss(0)
    assert teachers == [(3, False)] * 2


def test_own_segments_are_made_in_the_steps_that_are_learned() -> None:
    module = student()
    students = passes_of(module.transformer)
    distillation(module, {"teacher_steps": 2}, student_steps=2, num_segments=2, denoise_segments=1, prob=1.0).loss(0)
    assert students == [(3, False), (3, False), (3, True), (3, False), (3, False)]


def test_where_the_students_own_steps_lead_is_practised_where_that_is_asked_for() -> None:
    given, own = (
        distillation(None, {"teacher_steps": 4}, student_steps=2, own_state_prob=prob).loss(0)[1] for prob in (0.0, 1.0)
    )
    assert given["2_steps_0"] == own["2_steps_0"] and given["2_steps_1"] != own["2_steps_1"]


def test_the_teacher_stays_as_it_is(tmp_path: Path) -> None:
    by = teacher()
    before = copy.deepcopy(by.model.state_dict())
    learning = distillation(None, {"teacher_steps": 2}, by, student_steps=1)
    fit(learning, Optimization(num_steps=2), tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in by.model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "magic"}, "method is 'magic'; give trajectory or shortcut"),
        ({"teacher_steps": 0}, "teacher_steps is 0"),
        ({"guidance_scales": (3.0, 2.0)}, "guidance_scales are 3 and 2"),
        ({"usual_scale_prob": 2.0}, "usual_scale_prob is 2.0"),
    ],
)
def test_a_student_that_cannot_be_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        StudentConfig(**settings)
