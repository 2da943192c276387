"""A plan in words: what `--plan` prints."""

from collections.abc import Iterator

import torch

from malt.training.planning.gpus import ASSUMED_UTILISATION, Gpus
from malt.training.planning.run_plan import RunPlan
from malt.training.planning.stage_plan import StagePlan, Steps
from malt.wording import counted

GIB = 2**30
RESERVE = 0.08  # of a GPU's memory, for CUDA itself and what its allocator cannot use


def lines_of(plan: RunPlan) -> Iterator[str]:
    """The plan, line by line; where it does not fit the GPU, a sentence that says what to lower."""
    gpu = plan.gpus.gpu
    yield (
        f"plan for {plan.gpus}: {gpu.memory / GIB:.0f} GiB each, {gpu.peak / 1e12:g} TFLOP/s in bfloat16, of which "
        f"{ASSUMED_UTILISATION:.0%} is assumed"
    )
    for stage in plan.stages:
        yield from _stage(stage, plan.gpus)
    if plan.precision == torch.float32:
        yield "it computes in float32, for which these hours are many times too few; --precision bfloat16 is what they are for"
    for stage in plan.stages:
        if stage.memory(stage.steps) > room(plan.gpus):
            yield _too_large(stage, plan.gpus)


def room(gpus: Gpus) -> float:
    """Bytes of each GPU that a step can have."""
    return gpus.gpu.memory * (1 - RESERVE)


def _stage(stage: StagePlan, gpus: Gpus) -> Iterator[str]:
    weights = stage.weights
    yield f"{stage.name}: {weights.trained:,} parameters are trained, {weights.frozen:,} frozen"
    if stage.session is not None:
        yield f"  memory of a session: {_size(stage.session)}"
    yield (
        f"  on each GPU: weights {_size(weights.weights)}, average {_size(weights.average)}, "
        f"optimizer {_size(weights.optimizer)}, gradients {_size(weights.gradients)}"
    )
    yield f"  dearest step: {_memory(stage, stage.plain)}"
    if stage.checkpointed:
        yield f"  with activation checkpointing: {_memory(stage, stage.checkpointed)}"
    hours = gpus.seconds(stage.steps.flops) / 3600
    each = stage.steps.flops / stage.num_steps
    yield (
        f"  {counted(stage.num_steps, 'step', ',')} of {_flops(each)} on average: {_flops(stage.steps.flops)}, "
        f"about {counted(hours, 'hour', '.2g')} on {gpus}"
    )


def _memory(stage: StagePlan, steps: Steps) -> str:
    return f"activations {_size(steps.kept)}, together {_size(stage.memory(steps))}"


def _too_large(stage: StagePlan, gpus: Gpus) -> str:
    """What to do where a stage does not fit."""
    name, has = stage.name, f"{_size(stage.memory(stage.steps))} and one {gpus.gpu.name} has {_size(gpus.gpu.memory)}"
    if stage.checkpointed and not stage.is_checkpointed and stage.memory(stage.checkpointed) <= room(gpus):
        return f"the {name} does not fit: it needs {has}; give --parallel.activation-checkpointing true"
    if stage.weights.standing + stage.weights.gradients > room(gpus) / 2:
        return (
            f"the {name} does not fit: it needs {has}, much of it for weights; spread them over more GPUs with "
            "--parallel.fsdp true, or lower --transformer.num-layers"
        )
    return (
        f"the {name} does not fit: it needs {has}; lower the batch sizes, denoise-segments or --frame-size, or share the batch "
        "among more GPUs"
    )


def _size(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.1f} KiB"


def _flops(count: float) -> str:
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GFLOP"
