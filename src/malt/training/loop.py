"""The training loop: step, average, journal, save; the same for the autoencoder and for the transformer."""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from malt.training.average import Average
from malt.training.checkpoint import load_state, save_state, saved_states
from malt.training.optimizer import Optimization, build_optimizers, set_rate

Action = Callable[[int, nn.Module], None]


@runtime_checkable
class Task(Protocol):
    """Something to learn: a module, and its loss at each step. The step alone decides what is drawn."""

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
) -> Average:
    """Train to `plan.num_steps`, going on from the newest state in `folder`, bit for bit as if never stopped.

    `actions` maps a period in steps to something to do with the averaged model; the states after the steps in `milestones`
    are kept for good under `milestones/`. SIGTERM saves and leaves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizers, average = build_optimizers(task.module, plan), Average(task.module, plan.ema_decay)
    states = saved_states(folder)
    step = load_state(states[-1], task.module, average, optimizers) if states else 0
    skipped, saved_at, told_at, told_step = 0, time.monotonic(), time.monotonic(), step
    with _told_to_stop() as stop, (folder / "journal.jsonl").open("a") as journal:
        while step < plan.num_steps and not stop:
            set_rate(optimizers, plan.rate(step))
            loss, figures = task.loss(step)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(task.module.parameters(), plan.max_gradient_norm)
            if torch.isfinite(norm):
                for optimizer in optimizers:
                    optimizer.step()
                average.update(task.module, step)
            else:
                skipped += 1
            task.module.zero_grad(set_to_none=True)
            step += 1
            if step % journal_every == 0:
                now = time.monotonic()
                figures |= {"norm": float(norm), "skipped": skipped, "seconds": (now - told_at) / (step - told_step)}
                told_at, told_step = now, step
                journal.write(_line({"step": step, "loss": float(loss.detach()), **figures}))
                journal.flush()
            for period, action in (actions or {}).items():
                if step % period == 0:
                    _with_average(task.module, average, action, step)
            if step in milestones:
                save_state(folder / "milestones", step, task.module, average, optimizers, keep=len(milestones))
            if time.monotonic() - saved_at > save_seconds:
                save_state(folder, step, task.module, average, optimizers)
                saved_at = time.monotonic()
        save_state(folder, step, task.module, average, optimizers)
    if stop:
        raise SystemExit(143)
    return average


def _line(figures: dict[str, float]) -> str:
    """A line of JSON; where a figure is not finite, which JSON cannot say, null."""
    return json.dumps({name: value if math.isfinite(value) else None for name, value in figures.items()}) + "\n"


def _with_average(module: nn.Module, average: Average, action: Action, step: int) -> None:
    """Run an action on the averaged weights, then put the learning ones back."""
    learning = {name: p.detach().clone() for name, p in module.named_parameters()}
    average.copy_to(module)
    with torch.no_grad():
        action(step, module)
        for name, parameter in module.named_parameters():
            parameter.copy_(learning[name])


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """A list that fills when the process is told to end, so that the loop can finish its step and save."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
