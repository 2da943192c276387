"""A bounded queue from the computing thread to one reader, who may be a coroutine or a thread."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """Holds up to `capacity` items; the writer asks `has_room` before each, and is told through `on_room` of new room."""

    def __init__(self, on_room: Callable[[], None], capacity: int = 2) -> None:
        self._on_room, self._capacity = on_room, capacity
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._bell: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._is_closed = False

    def has_room(self) -> bool:
        """Whether another item may be put in."""
        return len(self._items) < self._capacity

    def put(self, item: Item) -> None:
        """Add an item; after `close` it is dropped."""
        with self._changed:
            if not self._is_closed:
                self._items.append(item)
            self._ring()

    def close(self) -> None:
        """Say that nothing more will come; what is there can still be read."""
        with self._changed:
            self._is_closed = True
            self._ring()

    def get(self, timeout: float | None = None) -> Item | None:
        """Wait for the next item, in a thread; None behind the last.

        Raises:
            TimeoutError: none came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._is_closed, timeout):
                raise TimeoutError("nothing came in time")
            item = self._items.popleft() if self._items else None
        self._on_room()
        return item

    async def take(self) -> Item | None:
        """Wait for the next item, in a coroutine; None behind the last."""
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._items or self._is_closed:
                    item = self._items.popleft() if self._items else None
                    break
                rung = loop.create_future()
                self._bell = loop, rung
            await rung
        self._on_room()
        return item

    def _ring(self) -> None:
        self._changed.notify_all()
        if self._bell is not None:
            loop, rung = self._bell
            self._bell = None
            with suppress(RuntimeError):  # its loop has ended, and the reader with it
                loop.call_soon_threadsafe(_answer, rung)


def _answer(rung: "asyncio.Future[None]") -> None:
    if not rung.done():
        rung.set_result(None)
