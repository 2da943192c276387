"""Runs an iterator ahead of its consumer in a thread of its own, a bounded number of steps and no more."""

from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import NamedTuple, TypeVar, cast

Item = TypeVar("Item")
_END = object()


class _Raised(NamedTuple):
    error: BaseException


def prefetch(items: Iterator[Item], depth: int = 4) -> Iterator[Item]:
    """Yield `items` while the next `depth` of them are made ready; what they raise is raised here, in its place."""
    queue: Queue[object] = Queue(depth)
    stop = Event()

    def put(item: object) -> None:
        while not stop.is_set():
            with suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # handed over, never swallowed
            put(_Raised(error))

    thread = Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (got := queue.get()) is not _END:
            if isinstance(got, _Raised):
                raise got.error
            yield cast(Item, got)
    finally:
        stop.set()
        _drain(queue)
        thread.join()


def _drain(queue: "Queue[object]") -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
