"""One worker process: started, asked for a piece of work at a time, and started anew when it has ended."""

import pickle
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from malt.serving.engine.process_loop import FAILED, GIVE_UP, GO_ON, READY, STEP, work_for
from malt.serving.engine.segment_work import SegmentWork

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

SECONDS_TO_END = 5.0  # what is computed then is lost to nobody


class ProcessEnded(Exception):  # noqa: N818 -- what was asked is asked of another
    """A worker process is no more, whatever ended it."""


class WorkerProcess:
    """A process with a model of its own. One thread at a time may ask it, also in the midst of what it asked before."""

    def __init__(self, load: Callable[[], "VideoPipeline"]) -> None:
        self._load = load
        self._pipe: Connection | None = None
        self._process: BaseProcess | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._pipe is not None and self._process is not None and not wait([self._process.sentinel], 0)

    def start(self) -> None:
        """Begin to load; `wait_until_ready` waits until that is done.

        It is forked from a process that has imported the libraries and holds nothing else, so that it is soon there.
        """
        context = get_context("forkserver")
        context.set_forkserver_preload(["malt.serving.engine.segment_work"])
        ours, theirs = context.Pipe()
        self._process = context.Process(target=work_for, args=(theirs, self._load), name="malt-worker", daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours

    def wait_until_ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            MaltError: it cannot be.
            ProcessEnded: the process ended meanwhile.
        """
        kind, value = self._receive()
        if kind != READY:
            self.end()
            raise value

    def run(self, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        """As `Executor.run`.

        Raises:
            ProcessEnded: the process ended before it was done.
        """
        self._send(work)
        while True:
            kind, value = self._receive()
            if kind == STEP:
                self._hear(on_step)
            elif kind == FAILED:
                raise value
            else:
                return value

    def end(self) -> None:
        """Let it end; what it computes is lost."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.join(SECONDS_TO_END)
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def _hear(self, on_step: Callable[[], None]) -> None:
        try:
            on_step()
        except BaseException:
            self._send(GIVE_UP)
            self._receive()
            raise
        self._send(GO_ON)

    def _send(self, message: object) -> None:
        if self._pipe is None:
            raise ProcessEnded
        try:
            self._pipe.send_bytes(pickle.dumps(message))
        except OSError as error:
            self._lose()
            raise ProcessEnded from error

    def _receive(self) -> tuple[str, Any]:
        if self._pipe is None:
            raise ProcessEnded
        try:
            kind, value = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as error:
            self._lose()
            raise ProcessEnded from error
        return kind, value

    def _lose(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
