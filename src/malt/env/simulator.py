"""The seam between an environment and what it shows: a model, or the true world that a model learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

Progress = Any  # where a session stands: a dataclass of the simulator's own, made of tensors and plain values


@dataclass(frozen=True, kw_only=True)
class SimulatorStep:
    """A step of one session: from where, under which prompt, and what is done in each of its frames."""

    progress: Progress
    prompt: str
    actions: Float[Tensor, "t a"] | None = None


Simulated = tuple[UInt8[np.ndarray, "t h w 3"], Progress]


@runtime_checkable
class Simulator(Protocol):
    """What answers to actions with frames. It is only read: sessions are values, and any number of them share it."""

    @property
    def name(self) -> str:
        """What it is called, for people."""
        ...

    @property
    def identity(self) -> str:
        """What a state must have been made by to be gone on with: alike for alike weights and settings."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """What the numbers of an action mean, each from -1 to 1; empty where nobody acts."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        ...

    @property
    def frames_per_step(self) -> int:
        """How many frames a step has, but where a video's first is shorter."""
        ...

    def state_bytes(self) -> int:
        """How many bytes a session is at most, known from shapes before anything runs."""
        ...

    def begin(self, seed: int, prompt: str) -> Progress:
        """A session in which nothing has happened.

        Raises:
            UsageError: the prompt does not fit.
        """
        ...

    def frames_ahead(self, progress: Progress) -> int:
        """How many frames the next step has."""
        ...

    def prompted(self, progress: Progress, prompt: str) -> Progress:
        """The same session, which another prompt is to lead from now on.

        Raises:
            UsageError: the prompt does not fit.
        """
        ...

    def advance(self, steps: Sequence[SimulatorStep], between: Callable[[], None] | None = None) -> list[Simulated]:
        """The next frames of many sessions, in as few passes as can be, each with where it stands after them.

        Args:
            steps: one for each session.
            between: called now and then while they are made; what it raises gives all of them up.

        Raises:
            MaltError: it fails; every session stands where it stood.
        """
        ...
