"""The steps of a pretrained base: its own scheduler, set up and told to the model as the base's own pipeline does it."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffusers import SchedulerMixin


@dataclass(frozen=True)
class BaseSchedule:
    """A scheduler whose timesteps, not its noise levels, are what the model is told.

    scheduler: of flow matching. sigmas: noise levels before any shift for a number of steps; None for the scheduler's own,
    as of one that takes none. mu: how far a scheduler that shifts by resolution is to shift; None for one that does not.
    """

    scheduler: SchedulerMixin
    sigmas: Callable[[int], Sequence[float]] | None = None
    mu: float | None = None

    @property
    def order(self) -> int:
        """How often the model is asked in a step."""
        return int(self.scheduler.order)

    def prepared(self, num_steps: int) -> SchedulerMixin:
        """A copy of the scheduler, set to so many steps."""
        scheduler = copy.deepcopy(self.scheduler)
        given = {} if self.mu is None else {"mu": self.mu}
        if self.sigmas is None or "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters:
            scheduler.set_timesteps(num_steps, **given)
        else:
            scheduler.set_timesteps(sigmas=list(self.sigmas(num_steps)), **given)
        return scheduler
