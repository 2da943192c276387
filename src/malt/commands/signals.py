"""Makes Ctrl-C and SIGTERM end a run in order, by raising `KeyboardInterrupt` where the work is."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """A SIGTERM, which ends a run as Ctrl-C does, with an exit code of its own."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` inside the block on SIGINT, and `Terminated`, which is one, on SIGTERM.

    SIGINT is set as well because a shell that starts a command in the background has it ignored.
    """
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
