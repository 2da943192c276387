"""The worker processes of a server, one a device: each piece of work goes to whichever is free, and elsewhere if it is lost."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from malt.errors import MaltError
from malt.serving.engine.segment_work import SegmentWork
from malt.serving.engine.worker_process import ProcessEnded, WorkerProcess

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

MAX_ATTEMPTS = 3  # at one piece of work, where the processes end that do it
PAUSES = (0.0, 1.0, 5.0, 30.0)  # seconds before a process is started anew, again and again
LOOK_SECONDS = 0.2
log = logging.getLogger(__name__)


class WorkerProcesses:
    """An `Executor` of processes on this machine. A thread that asks holds a process until it has its answer."""

    def __init__(self, loads: Sequence[Callable[[], "VideoPipeline"]]) -> None:
        """Start the processes, and wait until all have loaded their model.

        Raises:
            MaltError: one cannot.
        """
        self.processes = [WorkerProcess(load) for load in loads]
        self.num_restarts = 0
        self._free = queue.SimpleQueue[WorkerProcess]()
        self._held = threading.local()
        self._is_closed = threading.Event()
        try:
            for process in self.processes:
                process.start()
            for process in self.processes:
                process.wait_until_ready()
                self._free.put(process)
        except ProcessEnded as error:
            self.close()
            raise MaltError("a worker process ended while it loaded the model; see what it said above") from error
        except BaseException:
            self.close()
            raise

    @property
    def num_places(self) -> int:
        """How many processes there are."""
        return len(self.processes)

    @property
    def num_alive(self) -> int:
        """How many of them can be asked."""
        return sum(process.is_alive for process in self.processes)

    def run(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        """As `Executor.run`.

        Raises:
            MaltError: each process that began it ended.
        """
        for _ in range(MAX_ATTEMPTS):
            with self._lent(on_step) as process, suppress(ProcessEnded):
                return process.run(work, on_step)
        raise MaltError(
            f"{MAX_ATTEMPTS} worker processes ended, one after another, while they made this segment; the server's log says "
            "more, and a smaller video may do"
        )

    def close(self) -> None:
        """End the processes."""
        self._is_closed.set()
        for process in self.processes:
            process.end()

    @contextmanager
    def _lent(self, on_step: Callable[[], None]) -> Iterator[WorkerProcess]:
        """The process that this thread holds already, or else the next that is free, given back at the end."""
        held: WorkerProcess | None = getattr(self._held, "process", None)
        if held is not None and held.is_alive:
            yield held
            return
        process = self._held.process = self._next(on_step)
        try:
            yield process
        finally:
            self._held.process = held
            self._give_back(process)

    def _next(self, on_step: Callable[[], None]) -> WorkerProcess:
        while True:
            with suppress(queue.Empty):
                process = self._free.get(timeout=LOOK_SECONDS)
                if process.is_alive:
                    return process
                self._give_back(process)
            on_step()

    def _give_back(self, process: WorkerProcess) -> None:
        if process.is_alive:
            self._free.put(process)
        elif not self._is_closed.is_set():
            threading.Thread(target=self._restart, args=(process,), name="malt-restart", daemon=True).start()

    def _restart(self, process: WorkerProcess) -> None:
        """Start a process anew, until it can be asked."""
        log.warning("a worker process has ended; it is started anew, and what it computed goes on elsewhere")
        for attempt in range(10**6):
            if self._is_closed.wait(PAUSES[min(attempt, len(PAUSES) - 1)]):
                return
            self.num_restarts += 1
            process.end()
            try:
                process.start()
                process.wait_until_ready()
            except (MaltError, ProcessEnded) as error:
                log.error("a worker process could not be started: %s", error)
            else:
                self._free.put(process)
                return
