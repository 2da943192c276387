"""The recipe `adapt` for a single card, at 480x832: `small` for 24 GB, `large` for 80 GB. Planned, never run.

malt adapt experiments/one_card.py:small --base BASE --data SHARDS --plan --gpus 4090
"""

from dataclasses import replace

from malt.training.config import Experiment, stretched
from malt.training.recipes import adapt


def small() -> Experiment:
    """One video a step."""
    return _with_batches(1, num_steps=12_000)


def large() -> Experiment:
    """Four videos a step."""
    return _with_batches(4, num_steps=6_000)


def _with_batches(batch_size: int, num_steps: int) -> Experiment:
    experiment = adapt()
    curriculum = tuple(
        replace(stage, objectives=tuple(replace(each, batch_size=batch_size) for each in stage.objectives))
        for stage in stretched(experiment.curriculum, num_steps)
    )
    return replace(
        experiment,
        frame_size=(480, 832),
        precision="bfloat16",
        curriculum=curriculum,
        optimization=replace(experiment.optimization, num_steps=num_steps),
    )
