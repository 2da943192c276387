"""A student of few steps, as it is planned: it and its teacher by the settings of the teacher."""

from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch

from malt.codecs.base import Codec
from malt.models.transformer import MaltTransformer3DModel
from malt.training.config import Experiment
from malt.training.distilled_transformer import student_of
from malt.training.objectives.denoising import CaptionedTransformer
from malt.training.objectives.distillation import DistillationObjective, StudentConfig, Teacher, schedule
from malt.training.objectives.objective import Objective
from malt.training.pipeline_export import build_captioned
from malt.training.planning.step_cost import StepCost, measure_step


class Teaching(NamedTuple):
    """What a student of few steps learns from, and what of it."""

    teacher: Teacher
    student: StudentConfig

    @property
    def model(self) -> MaltTransformer3DModel:
        """What teaches."""
        model = self.teacher.model
        assert isinstance(model, MaltTransformer3DModel)
        return cast(MaltTransformer3DModel, model)


def student_without_weights(
    experiment: Experiment, words: tuple[str, ...], codec: Codec, precision: torch.dtype
) -> tuple[CaptionedTransformer, Teaching]:
    """The student and its teacher on the meta device; the teacher in the precision of passes, as nothing of it learns.

    Raises:
        CheckpointError: there is no such teacher.
        UsageError: the teacher was distilled itself, or is of another size.
    """
    spec = student_of(experiment)
    with torch.device("meta"):
        captioned = build_captioned(
            experiment.transformer,
            words,
            codec,
            caption_tokens=experiment.caption_tokens,
            num_actions=len(experiment.actions),
        )
        teacher = captioned.transformer
        assert isinstance(teacher, MaltTransformer3DModel)
        captioned.transformer = spec.student_of(teacher)
    captioned.text_encoder.requires_grad_(False)
    for count in (*spec.num_steps, *(2 * count for count in spec.num_steps)):
        schedule(experiment.sampling.shift, count)  # kept from here on, as it cannot be made where nothing has a number
    for weight in teacher.requires_grad_(False).parameters():
        weight.data = weight.data.to(precision)
    return captioned, Teaching(spec.teacher_of(teacher), experiment.student)


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
