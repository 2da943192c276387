"""A run that is told to end while it learns."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from malt.training.engine.gradients import TrainingObjective


def stop_at(task: type[TrainingObjective], step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process told to end during a step of a task, once."""
    loss: Callable[..., Any] = task.loss
    told: list[int] = []

    def told_to_end(self: Any, now: int) -> Any:
        if now == step and not told:
            told.append(now)
            signal.raise_signal(signal.SIGTERM)
        return loss(self, now)

    monkeypatch.setattr(task, "loss", told_to_end)
