"""A student of few steps, as it is planned: it and its teacher by the settings of the teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from malt.models.transformer import MaltTransformer3DModel
from malt.training.adapted_base import Adapted, AdaptedModel
from malt.training.config import Experiment
from malt.training.distilled_adapter import student_of_adapter
from malt.training.distilled_transformer import student_of
from malt.training.objectives.denoising import CaptionedTransformer
from malt.training.objectives.distillation import DistillationObjective, StudentConfig, Teacher, schedule
from malt.training.objectives.objective import Objective
from malt.training.planning.adapted_plan import adapted_without_weights
from malt.training.planning.step_cost import StepCost, measure_step


class Teaching(NamedTuple):
    """What a student of few steps learns from, and what of it."""

    teacher: Teacher
    student: StudentConfig

    @property
    def model(self) -> MaltTransformer3DModel | Adapted:
        """What teaches."""
        return cast(MaltTransformer3DModel | Adapted, self.teacher.model)


def taught_without_weights(
    teacher: CaptionedTransformer, experiment: Experiment, precision: torch.dtype
) -> tuple[CaptionedTransformer, Teaching]:
    """A student beside its teacher, which is in the precision of passes, as nothing of it learns.

    Args:
        teacher: a model of the teacher's size, on the meta device.
        experiment: what teaches, and what is practised.
        precision: that of passes.

    Raises:
        CheckpointError: there is no such teacher.
        UsageError: the teacher was distilled itself, or is of another size.
    """
    spec, transformer = student_of(experiment), teacher.transformer
    assert isinstance(transformer, MaltTransformer3DModel)
    with torch.device("meta"):
        learning = spec.student_of(transformer)
    student = CaptionedTransformer(learning, teacher.text_encoder.requires_grad_(False), teacher.tokenizer)
    for weight in transformer.requires_grad_(False).parameters():
        weight.data = weight.data.to(precision)
    for count in (*spec.num_steps, *(2 * count for count in spec.num_steps)):
        schedule(experiment.sampling.shift, count)  # kept from here on, as a plan can make no numbers
    return student, Teaching(spec.teacher_of(transformer), experiment.student)


def adapter_taught_without_weights(experiment: Experiment, precision: torch.dtype) -> tuple[AdaptedModel, Teaching]:
    """A student of a base with a memory, and the base once more, which teaches it.

    Args:
        experiment: what teaches, and what is practised.
        precision: that of passes.

    Raises:
        UsageError: there is no such base, or what is practised cannot be learned.
    """
    base = Path(str(experiment.base))
    student, teacher = (adapted_without_weights(base, experiment.adapter, precision) for _ in range(2))
    given = {"base": base, "adapter": experiment.adapter, "sampling": experiment.sampling, "dtype": precision}
    spec = student_of_adapter(experiment, **given, device="meta", seed=experiment.seed, patch_size=1)
    for count in (spec.num_steps, 2 * spec.num_steps):
        schedule(experiment.sampling.shift, count)  # kept from here on, as a plan can make no numbers
    return student, Teaching(spec.teacher_of(teacher.transformer.requires_grad_(False)), experiment.student)


def measure_taught(given: tuple[Any, ...], teaching: Teaching, objective: Objective) -> StepCost:
    """The cost of a step of a student; of many steps of its teacher by fewer, as each further one costs the same.

    Args:
        given: what a `DenoisingObjective` is made with.
        teaching: what teaches it.
        objective: what is practised.
    """
    count = objective.distillation.student_steps

    def measured(taught: int) -> StepCost:
        student = replace(teaching.student, teacher_steps=taught * count)
        task = DistillationObjective(*given, teacher=teaching.teacher, student=student)
        return measure_step(task, beside=teaching.model)

    each = -(-teaching.student.teacher_steps // count)  # of the teacher's steps to one of the student's
    return measured(each) if each <= 2 else measured(1).further(measured(2), each - 1)
