"""What a worker process does: it loads a model and does the work that comes through a pipe, until nobody is at its end."""

import logging
import pickle
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from malt.errors import MaltError
from malt.serving.engine.errand import Errand
from malt.serving.engine.job import GivenUp

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline
    from malt.serving.engine.segment_work import ModelWork

READY, STEP, DONE, FAILED, GO_ON, GIVE_UP = "ready", "step", "done", "failed", "go on", "give up"
log = logging.getLogger(__name__)


def work_for(pipe: Connection, load: Callable[[], "VideoPipeline"]) -> None:
    """Load the model, say READY, and answer each piece of work by DONE or FAILED.

    Behind every step it says STEP and waits to hear whether to GO_ON, to GIVE_UP, or what to do before.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for whoever is at the other end
    try:
        from malt.serving.engine.segment_work import ModelWork

        work = ModelWork(load())
        _send(pipe, READY, None)
        while True:
            _do(pipe, work, pickle.loads(pipe.recv_bytes()))
    except (EOFError, OSError):
        return
    except MaltError as error:
        _send(pipe, FAILED, error)


def _do(pipe: Connection, work: "ModelWork", piece: Any) -> None:
    def on_step() -> None:
        _send(pipe, STEP, None)
        while (answer := pickle.loads(pipe.recv_bytes())) != GO_ON:
            if answer == GIVE_UP:
                raise GivenUp
            _do(pipe, work, answer)

    done = Errand(partial(work.run, piece, on_step)).run()
    error = done.exception()
    if error is None:
        _send(pipe, DONE, done.result())
    elif isinstance(error, EOFError | OSError):  # nobody is at the other end
        raise error
    elif isinstance(error, MaltError | GivenUp):
        _send(pipe, FAILED, error)
    else:
        log.error("a piece of work failed", exc_info=error)
        _send(pipe, FAILED, RuntimeError(f"{type(error).__name__}: {error}"))


def _send(pipe: Connection, kind: str, value: object) -> None:
    pipe.send_bytes(pickle.dumps((kind, value)))
