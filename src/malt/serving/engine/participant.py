"""What takes turns on the computing thread: a session on its way to a length, or the worlds that go on together."""

from collections.abc import Callable
from typing import Protocol

from malt.serving.engine.job import JobState


class Participant(Protocol):
    """One of those who take turns.

    state: where it stands. is_wanted: whether it is to go on. is_ready: whether it has something to do. spent: seconds that
    were computed for it, by which turns are dealt out. paused_at: since when it has had nothing to do. is_resident: whether
    it takes nobody's place, and is kept however long it has nothing to do.
    """

    state: JobState
    is_wanted: bool
    is_ready: bool
    spent: float
    paused_at: float | None

    @property
    def is_resident(self) -> bool: ...  # noqa: D102
    @property
    def can_join(self) -> bool:
        """Whether its turn may be one pass with those of others that cost as much."""
        ...

    @property
    def segment_cost(self) -> int:
        """What its turn costs: pixels of a frame times denoising steps."""
        ...

    @property
    def has_room(self) -> Callable[[], bool]:
        """Whether it can go on now."""
        ...

    def step(self, between: Callable[[], None]) -> bool:
        """Have a turn; whether there was something to do.

        Args:
            between: called between denoising steps; may raise `GivenUp`.
        """
        ...

    def end(self, state: JobState, error: str) -> None:
        """Let go of everything and say so."""
        ...
