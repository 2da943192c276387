"""The training loop: step, average, journal, save; the same for every model, on one process or many."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from malt.training.average import Average
from malt.training.checkpoint import Progress, Saver, resume
from malt.training.distributed import clip_gradients, current_ranks, give_back, is_sharded, local
from malt.training.journal import Journal
from malt.training.learner import Learner
from malt.training.optimizer import Optimization, build_optimizers, set_rate

Action = Callable[[int, nn.Module], None]


@runtime_checkable
class Task(Protocol):
    """Something to learn: a module, and its loss at each step. The step alone decides what is drawn.

    Where several ranks learn together, each is asked for the loss of its own rows of the step's batch (`Ranks.part`).
    """

    @property
    def module(self) -> nn.Module:
        """What learns."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The scalar to descend, and figures for the journal."""
        ...


def fit(
    task: Task,
    plan: Optimization,
    folder: Path,
    *,
    save_seconds: float = 180.0,
    journal_every: int = 20,
    actions: dict[int, Action] | None = None,
    milestones: tuple[int, ...] = (),
    keep: int = 2,
    journal: Journal | None = None,
) -> Average:
    """Train to `plan.num_steps`, going on from the newest sound state in `folder`, bit for bit as if never stopped.

    `actions` maps a period in steps to something to do with the averaged model; the states after the steps in `milestones`
    are kept for good under `milestones/`, of the others the newest `keep`. Figures go to `journal` (None: one in `folder`).
    SIGTERM, to any rank, saves and leaves. Actions run on the first rank; of a sharded module on all of them together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranks = current_ranks()
    optimizers, average = build_optimizers(task.module, plan), Average(task.module, plan.ema_decay)
    learner = Learner(task.module, average, optimizers)
    progress, saver, stop = resume(folder, learner), Saver(learner), False
    saved_at, told_at, told_step = time.monotonic(), time.monotonic(), progress.step
    journal = journal or Journal(folder)
    with _told_to_stop() as told, closing(journal):
        journal.rewind(progress.step)
        while progress.step < plan.num_steps and not stop:
            set_rate(optimizers, plan.rate(progress.step))
            loss, figures = task.loss(progress.step)
            loss.backward()
            ranks.average_gradients(task.module)
            norm = clip_gradients(task.module, plan.max_gradient_norm)
            progress = _take_step(learner, norm, progress)
            if progress.step % journal_every == 0:
                figures = ranks.mean({"loss": float(loss.detach()), **figures})
                now = time.monotonic()
                pace = {"skipped": progress.skipped, "seconds": (now - told_at) / (progress.step - told_step)}
                told_at, told_step = now, progress.step
                journal.write(progress.step, figures | {"norm": float(norm)} | pace)
            for period, action in (actions or {}).items():
                if progress.step % period == 0 and (ranks.first or is_sharded(task.module)):
                    _with_average(task.module, average, action, progress.step)
            if progress.step in milestones:
                saver.save(folder / "milestones", progress, keep=len(milestones))
            is_due = ranks.first and time.monotonic() - saved_at > save_seconds
            stop, is_due = ranks.agree(bool(told), is_due)
            if is_due:
                saver.save(folder, progress, keep)
                saved_at = time.monotonic()
        saver.save(folder, progress, keep)
        saver.finish()
    if stop:
        raise SystemExit(143)
    return average


def _take_step(learner: Learner, norm: Tensor, progress: Progress) -> Progress:
    """Change the weights by their gradients, unless these are not finite: such a step is counted and skipped."""
    finite = bool(torch.isfinite(norm))
    if finite:
        for optimizer in learner.optimizers:
            optimizer.step()
        learner.average.update(learner.module, progress.step)
    learner.module.zero_grad(set_to_none=True)
    return replace(progress, step=progress.step + 1, skipped=progress.skipped + (not finite))


@torch.no_grad()
def _with_average(module: nn.Module, average: Average, action: Action, step: int) -> None:
    """Run an action on the averaged weights, then put the learning ones back."""
    learning = {name: local(p.detach()).clone() for name, p in module.named_parameters()}
    average.copy_to(module)
    action(step, module)
    give_back(module)
    for name, parameter in module.named_parameters():
        local(parameter).copy_(learning[name])


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """A list that fills when the process is told to end, so that the loop can finish its step and save."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
