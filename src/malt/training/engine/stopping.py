"""Lets a process that is told to end finish its step and save, and break off a step that torch still compiles."""

import signal
import sys
import threading
from types import FrameType, TracebackType

import psutil
from torch._guards import CompileContext

from malt.training.engine.parallel import current_context


class CompilingAbandonedError(BaseException):
    """The process was told to end while torch compiled; as with `KeyboardInterrupt`, nothing on the way may catch it."""


class StopSignals:
    """Counts how often the process is told to end (SIGTERM) inside the block, so that a loop can finish its step and save.

    While torch compiles, which takes minutes and computes nothing that could be lost, `CompilingAbandonedError` is raised as
    well. Not where several processes learn together: the others would wait for the rest of the step.
    """

    def __init__(self) -> None:
        self.count = 0
        self._others = set(psutil.Process().children())

    def __enter__(self) -> "StopSignals":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.count or not isinstance(error, Exception | None):
            self._let_go_of_compiling()
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if CompileContext.current_compile_id() and current_context().world_size == 1:
            self._end_compilers()  # before what waits for them ends only the first of each, and leaves what that started
            raise CompilingAbandonedError

    def _end_compilers(self) -> None:
        """End what was started inside the block, with all that it has started itself."""
        for started in set(psutil.Process().children()) - self._others:
            try:
                for process in (*started.children(recursive=True), started):
                    process.kill()
            except psutil.NoSuchProcess:
                continue

    def _let_go_of_compiling(self) -> None:
        """Leave nothing to compile for the threads that do it: at its end Python would wait for all of it."""
        if "torch._inductor.async_compile" not in sys.modules:
            return
        from torch._inductor.async_compile import AsyncCompile

        if not AsyncCompile.pool.cache_info().currsize:
            return
        pool = AsyncCompile.pool()
        AsyncCompile.pool.cache_clear()
        pool.shutdown(wait=False, cancel_futures=True)
        ending = threading.Thread(target=pool.shutdown)  # which waits
        ending.start()
        while ending.is_alive():
            self._end_compilers()
            ending.join(0.1)
