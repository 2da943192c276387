"""Shortcut models against trajectories, by equal computing: the same student, data and states, and another target of a step.

    malt distill TEACHER --recipe experiments/shortcut.py:shortcut --out runs/shortcut
    malt distill TEACHER --recipe distill --out runs/trajectory

A step of a shortcut model is two of its own that are half as long, so half of the turns are for the shortest steps, which
the teacher grounds, and fewer for the longer ones.
"""

from dataclasses import replace

from malt.training.config import Experiment
from malt.training.distillation_recipes import BEGIN, EARLY, LATE, OWN, distill
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import StudentConfig
from malt.training.objectives.objective import DistillationConfig

STEPS = (
    (BEGIN, 8),
    (LATE, 4),
    (OWN, 8),
    (BEGIN, 4),
    (BEGIN, 8),
    (LATE, 8),
    (EARLY, 4),
    (LATE, 8),
    (BEGIN, 4),
    (OWN, 4),
    (LATE, 4),
    (EARLY, 2),
)


def shortcut() -> Experiment:
    """The recipe `distill` with targets by the student itself."""
    turns = tuple(
        replace(objective, distillation=DistillationConfig(student_steps=count)) for objective, count in STEPS
    )
    experiment = distill()
    return replace(
        experiment,
        student=StudentConfig(method="shortcut", teacher_steps=8),
        curriculum=tuple(Stage(until=stage.until, objectives=turns) for stage in experiment.curriculum),
    )
