"""The training loop: step, average, metrics, save; the same for every model, on one process or many."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from torch import nn

from malt.errors import DivergedError
from malt.out_of_memory import TRAINING_STEP, enough_memory_for
from malt.training.engine.checkpoint import Saver, TrainProgress, resume, saved_states
from malt.training.engine.ema import EMA
from malt.training.engine.gradients import EagerStep, StepGradients, TrainingObjective
from malt.training.engine.graphed_step import GraphedStep
from malt.training.engine.metric_log import MetricLogger
from malt.training.engine.optimizer import Optimization, build_optimizers, set_rate
from malt.training.engine.parallel import clip_gradients, current_context, is_sharded, local_tensor, reshard
from malt.training.engine.stopping import CompilingAbandonedError, StopSignals
from malt.training.engine.train_state import TrainState
from malt.training.engine.trainable import trainable

Action = Callable[[int, nn.Module], None]
LOG_EVERY = 20  # steps; a shorter run tells of its last one


def fit(
    objective: TrainingObjective,
    optimization: Optimization,
    folder: Path,
    *,
    save_seconds: float = 180.0,
    log_every: int | None = None,
    actions: dict[int, Action] | None = None,
    milestones: tuple[int, ...] = (),
    keep: int = 2,
    metrics: MetricLogger | None = None,
    is_graphed: bool = False,
) -> EMA:
    """Train to `optimization.num_steps`, going on from the newest sound state in `folder`, bit for bit as if never stopped.

    `actions` maps a period in steps to something to do with the averaged model; the states after the steps in `milestones`
    are kept for good under `milestones/`, of the others the newest `keep`. Figures go to `metrics` (None: one in `folder`).
    `is_graphed` starts a step's kernels by one CUDA graph. SIGTERM, to any rank, saves and leaves, without the step that
    torch still compiles. Actions run on the first rank; of a sharded module on all of them together. Weights that are not
    finite are never saved.

    Raises:
        DivergedError: too many steps in a row, or half of all, were not finite; the last good state is saved.
        MaltError: memory runs out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context, module, metrics = current_context(), objective.module, metrics or MetricLogger(folder)
    log_every = log_every or min(LOG_EVERY, optimization.num_steps)
    ema = EMA(module, optimization.ema_decay)
    state = TrainState(module, ema, build_optimizers(module, optimization))
    progress, saver, stop = resume(folder, state), Saver(state), False
    pace, due_at = _Pace(progress.step), time.monotonic() + save_seconds
    gradients: StepGradients = GraphedStep(objective) if is_graphed else EagerStep(objective)
    with StopSignals() as stops, closing(metrics):
        metrics.rewind(progress.step)
        while progress.step < optimization.num_steps and not stop and not progress.has_diverged(optimization.num_steps):
            try:
                with enough_memory_for(TRAINING_STEP):
                    progress, figures = _learn(gradients, state, optimization, progress)
            except CompilingAbandonedError:
                stop = True
                break
            if progress.step % log_every == 0:
                metrics.write(progress.step, context.mean(figures) | pace.since(progress))
            for period, action in (actions or {}).items():
                if progress.step % period == 0 and (context.is_first or is_sharded(module)):
                    _with_ema(module, ema, action, progress.step)
            if progress.step in milestones:
                saver.save(folder / "milestones", progress, keep=len(milestones))
            stop, is_due = context.agree(stops.count > 0, context.is_first and time.monotonic() > due_at)
            if is_due:
                saver.save(folder, progress, keep)
                due_at = time.monotonic() + save_seconds
        is_saved = saver.save(folder, progress, keep)
        saver.finish()
    if progress.has_diverged(optimization.num_steps) or not (is_saved or stop):
        raise DivergedError(_divergence(folder, progress))
    if stop:
        raise SystemExit(143)
    return ema


def _learn(
    gradients: StepGradients, state: TrainState, optimization: Optimization, progress: TrainProgress
) -> tuple[TrainProgress, dict[str, float]]:
    """Take one step; how far the run is after it, and its figures.

    A step whose gradients are not finite changes nothing but its count.
    """
    set_rate(state.optimizers, optimization.rate(progress.step))
    loss, figures = gradients(progress.step)
    current_context().average_gradients(state.module)
    norm = clip_gradients(state.module, optimization.max_gradient_norm)
    is_finite = bool(torch.isfinite(norm))
    if is_finite:
        for optimizer in state.optimizers:
            optimizer.step()
        state.ema.update(state.module, progress.step)
    gradients.clear()
    return progress.after(is_finite), {"loss": float(loss), **figures, "norm": float(norm)}


class _Pace:
    """How long the steps take."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.monotonic()

    def since(self, progress: TrainProgress) -> dict[str, float]:
        """Seconds a step since this was last asked, and how many steps of the run were skipped."""
        now, num_steps = time.monotonic(), progress.step - self.step
        seconds, self.step, self.time = (now - self.time) / num_steps, progress.step, now
        return {"skipped": progress.skipped, "seconds": seconds}


def _divergence(folder: Path, progress: TrainProgress) -> str:
    """What to say of a run that has diverged."""
    saved = saved_states(folder)
    kept = f"the last good state is {saved[-1]}" if saved else "no state was saved before"
    return (
        f"training has diverged, its numbers are no longer finite ({progress.skipped} of {progress.step} steps skipped); {kept}; "
        "begin again with lower learning rates"
    )


@torch.no_grad()
def _with_ema(module: nn.Module, ema: EMA, action: Action, step: int) -> None:
    """Run an action on the averaged weights, then put the learning ones back."""
    learning = {name: local_tensor(p.detach()).clone() for name, p in trainable(module).items()}
    ema.copy_to(module)
    action(step, module)
    reshard(module)
    for name, parameter in trainable(module).items():
        local_tensor(parameter).copy_(learning[name])
