"""What one thread does for others, who wait for what comes of it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Errand(Generic[Value]):
    """Work to be done once; `future` holds what came of it, an exception included. since: when it was given, by some clock."""

    def __init__(self, work: Callable[[], Value], since: float = 0.0) -> None:
        self._work, self.future, self.since = work, Future[Value](), since

    def run(self) -> "Future[Value]":
        """Do it, unless whoever wanted it has lost interest."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self._work())
            except BaseException as error:
                self.future.set_exception(error)
        return self.future
