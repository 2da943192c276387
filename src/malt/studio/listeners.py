"""Those who watch something that changes, and since when nobody has."""

import time
from collections.abc import Callable


class Listeners:
    """Functions that are called, from any thread, whenever something has changed."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._seen = time.monotonic()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._listeners)

    @property
    def away(self) -> float:
        """For how many seconds there has been nobody."""
        return 0.0 if self._listeners else time.monotonic() - self._seen

    def add(self, listener: Callable[[], None]) -> None:
        """Have somebody told from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Callable[[], None]) -> None:
        """The opposite of `add`."""
        self._listeners.remove(listener)
        self._seen = time.monotonic()

    def notify(self) -> None:
        """Tell all."""
        for listener in tuple(self._listeners):
            listener()
