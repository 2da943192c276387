"""Does what follows a segment in a thread of its own, while the next segment is computed; one at a time, in their order."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class WritingThread:
    """A thread for one piece of work after another, of which at most one is under way; a context manager that waits for it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "malt-writing")
        self._under_way: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Begin with a piece of work as soon as the one before is done; what that raised is raised here."""
        self.wait()
        self._under_way = self._thread.submit(work)

    def wait(self) -> None:
        """Wait until all is done; what it raised is raised here, once."""
        if self._under_way is None:
            return
        error = self._under_way.exception()  # an interrupted wait leaves it under way, to be waited for at the end
        self._under_way = None
        if error is not None:
            raise error

    def __enter__(self) -> "WritingThread":
        """Give the thread itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait, whatever ended the block: what was made is written."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
