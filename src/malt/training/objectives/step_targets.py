"""Where a student's step should lead: as far as several steps of its teacher do, or as two of its own that are half as long."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from malt.training.objectives.segment_passes import StudentPasses, TeacherPasses

Latents = Float[Tensor, "b n c h w"]


class Step(NamedTuple):
    """A step of a student, and the noise levels of the finer steps that it takes the place of, both of its ends included."""

    levels: Sequence[float]
    halves: Sequence[float]


# (latents at the beginning of a step, the step, the student, the teacher) -> the velocity that leads to its end
StepTarget = Callable[[Latents, Step, StudentPasses, TeacherPasses], Latents]


def trajectory(noisy: Latents, step: Step, student: StudentPasses, teacher: TeacherPasses) -> Latents:
    """The mean velocity of the teacher's guided steps (progressive distillation: arXiv:2202.00512, arXiv:2210.03142)."""
    end = noisy
    for level, following in pairwise(step.levels):
        end = end + (following - level) * teacher.velocity(end, level)
    return (end - noisy) / (step.levels[-1] - step.levels[0])


def shortcut(noisy: Latents, step: Step, student: StudentPasses, teacher: TeacherPasses) -> Latents:
    """The mean velocity of two steps of the student, half as long (shortcut models: arXiv:2410.12557).

    A step as short as the teacher's is the teacher's own: this is what grounds the longer ones.
    """
    if len(step.levels) == 2:
        return teacher.velocity(noisy, step.levels[0])
    first, middle, last = step.halves
    half = noisy + (middle - first) * student.velocity(noisy, first, middle)
    end = half + (last - middle) * student.velocity(half, middle, last)
    return (end - noisy) / (last - first)


METHODS: dict[str, StepTarget] = {"trajectory": trajectory, "shortcut": shortcut}
