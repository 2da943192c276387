"""What two processes do together in test_distributed.py, and what one alone does to compare: `python two_ranks.py FOLDER`."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor

import tiny_pipeline
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization, build_optimizers
from malt.training.engine.parallel import (
    ParallelConfig,
    clip_gradients,
    current_context,
    full_state,
    launched,
    parallelize,
)
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.distillation import DistillationObjective, StudentConfig, Teacher
from malt.training.objectives.objective import DistillationConfig, Objective, SelfForcingConfig, UnrollConfig
from tiny_examples import Examples, captioned

SCALES = {
    "replicated": ParallelConfig(activation_checkpointing=True),
    "sharded": ParallelConfig(fsdp=True, activation_checkpointing=True),
    "copied": ParallelConfig(fsdp=True, num_replicas=2),  # a whole copy each, kept as sharded weights are
    "compiled": ParallelConfig(fsdp=True),
}
KINDS = ("recurrent", "slots")
OTHERS = ("hierarchical", "adaptive", "multimodal", "state_space")
# Tracing takes its time, so only the memory that has most to trace is compiled.
SLOPES = [(kind, scale) for kind in KINDS for scale in SCALES if (kind, scale) != ("recurrent", "compiled")]
SLOPES += [(kind, "sharded") for kind in OTHERS]
STUDENT = "a student's"
SLOPES.append((STUDENT, "sharded"))
STEPS = 4
BATCH = 4
PLAN = Optimization(num_steps=STEPS, learning_rate=0.01, warmup_steps=1, max_gradient_norm=0.5)
MUON = Optimization(num_steps=STEPS, learning_rate=0.01, warmup_steps=1, muon_learning_rate=0.01)


def lesson(kind: str = "recurrent", scale: str = "replicated") -> DenoisingObjective:
    """Three segments, the memory written between them; of the batch this rank's videos.

    The text encoder stays replicated, so that a sharded model has weights of both kinds.
    """
    model = captioned(memory=kind).train()
    parallelize(tiny_pipeline.network(model), SCALES[scale], torch.float32, compiled=scale == "compiled")
    stage = Stage(
        until=STEPS, objectives=(Objective(batch_size=BATCH, unroll=UnrollConfig(num_segments=3, bptt_segments=1)),)
    )
    return DenoisingObjective(model, Examples(), (stage,), 0, torch.float32, current_context().rank_and_size)


def students_lesson(scale: str) -> DistillationObjective:
    """Two steps of a student that remembers its own segments, by a teacher of four."""
    told = {"guidance_scale": [1.0, 5.0], "memory_guidance_scale": [1.0, 3.0], "num_inference_steps": [2]}
    model, taught = captioned(distilled=told).train(), captioned().requires_grad_(False)
    model.text_encoder.requires_grad_(False)
    for each in (model, taught):
        parallelize(tiny_pipeline.network(each), SCALES[scale], torch.float32, compiled=False)
    unroll = UnrollConfig(num_segments=3, denoise_segments=2, bptt_segments=1)
    own = SelfForcingConfig(prob=0.5)
    steps = DistillationConfig(student_steps=2)
    objective = Objective(batch_size=BATCH, unroll=unroll, self_forcing=own, distillation=steps)
    stage = Stage(until=STEPS, objectives=(objective,))
    given = Examples(), (stage,), 0, torch.float32, current_context().rank_and_size
    teacher, asked = Teacher(taught.transformer, 3.0, 2.0, 3.0), StudentConfig(teacher_steps=4)
    return DistillationObjective(model, *given, teacher=teacher, student=asked)


def slope(kind: str, scale: str) -> dict[str, Tensor]:
    """Loss, gradients and their norm before they are clipped."""
    task = students_lesson(scale) if kind == STUDENT else lesson(kind, scale)
    context = current_context()
    loss, _ = task.loss(1)
    loss.backward()
    context.average_gradients(task.module)
    norm = clip_gradients(task.module, 0.5)
    named = {name: p.grad for name, p in task.module.named_parameters() if p.grad is not None}
    means = context.mean({"loss": float(loss.detach())})
    return {**full_state(named), "loss": torch.tensor(means["loss"]), "norm": norm.detach()}


def learned(
    folder: Path, scale: str = "replicated", steps: int = STEPS, plan: Optimization = PLAN
) -> dict[str, Tensor]:
    """The averaged weights after a run that is told to stop after so many steps, by the last of its ranks."""
    task = Told(lesson(scale=scale), steps - 1) if steps < STEPS else lesson(scale=scale)
    try:
        average = fit(task, plan, folder, log_every=1, save_seconds=0)
    except SystemExit as left:
        assert left.code == 143
        return {}
    return average.whole()


def optimizers() -> dict[str, Tensor]:
    """How many learn a sharded model where Muon was asked for."""
    return {"count": torch.tensor(len(build_optimizers(lesson(scale="sharded").module, MUON)))}


class Told:
    """A task during one of whose steps the last rank, and no other, is told to end."""

    def __init__(self, task: DenoisingObjective, step: int) -> None:
        self.task, self.module, self.step = task, task.module, step

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        context = current_context()
        if step == self.step and context.rank == context.world_size - 1:
            signal.raise_signal(signal.SIGTERM)
        return self.task.loss(step)


def together(folder: Path) -> None:
    """All that the two processes do; what they find is in `folder`. `one` was begun there by a process alone."""
    work: dict[str, Callable[[], dict[str, Tensor]]] = {
        f"{kind}-{scale}": partial(slope, kind, scale) for kind, scale in SLOPES
    }
    work["optimizers"] = optimizers
    work["sharded"] = lambda: learned(folder / "sharded", "sharded")
    work["replicated"] = lambda: learned(folder / "replicated", plan=MUON)
    work["stopped"] = lambda: learned(folder / "stopped", "sharded", steps=2)
    work["one"] = lambda: learned(folder / "one", "sharded")
    traced = mock.patch("torch.compile", partial(torch.compile, backend="eager"))  # whether it can be, at no great cost
    for name, does in work.items():
        with traced:
            found = does()
        if current_context().is_first:
            save_file(found, folder / f"{name}.safetensors")


def start(folder: Path) -> list[subprocess.CompletedProcess]:
    """Run this file twice, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, __file__, str(folder)]
    processes = [
        subprocess.Popen(command, env=common | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    try:
        told = [process.communicate(timeout=1800)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [subprocess.CompletedProcess(p.args, p.returncode, stderr=t) for p, t in zip(processes, told, strict=True)]


if __name__ == "__main__":
    with launched(on_gpu=False):
        together(Path(sys.argv[1]))
