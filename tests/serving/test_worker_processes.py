"""Laws of worker processes: two share the work, one that is killed costs nobody anything, and none outlives its server."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import tiny_pipeline
from malt.errors import MaltError
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import Segment
from malt.serving.engine.job import JobState
from malt.serving.engine.remote_rollout import compute_elsewhere
from malt.serving.engine.segment_work import SegmentWork
from malt.serving.engine.worker import Worker
from malt.serving.engine.worker_process import WorkerProcess
from malt.serving.engine.worker_processes import WorkerProcesses
from malt.sessions.session import Session
from tiny_elsewhere import alone, ends_between_two_steps, frames, load, refuse, start
from tiny_pipeline import PROMPT, SEGMENT
from tiny_server import wait_until

pytestmark = pytest.mark.slow  # processes import torch


def fall() -> MaltPipeline:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.fixture(scope="module")
def processes() -> Iterator[WorkerProcesses]:
    processes = WorkerProcesses([load, load])
    yield processes
    processes.close()


@pytest.fixture
def pipe(processes: WorkerProcesses) -> MaltPipeline:
    pipe = tiny_pipeline.pipeline()
    compute_elsewhere(pipe, processes)
    wait_until(lambda: processes.num_alive == 2)
    return pipe


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(num_threads=2)
    yield worker
    worker.close()


def test_two_processes_work_at_once(worker: Worker, pipe: MaltPipeline) -> None:
    both = threading.Barrier(2, timeout=60)
    jobs = [start(worker, pipe, seed, lambda segment: (both.wait(), None)[1]) for seed in range(2)]
    assert all(job.wait(120) and job.state == JobState.DONE for job in jobs)


def test_a_process_that_is_killed_loses_nothing(worker: Worker, pipe: MaltPipeline, processes: WorkerProcesses) -> None:
    before, made = processes.num_restarts, dict[int, list[Segment]]()
    jobs = [start(worker, pipe, seed, made.setdefault(seed, []).append) for seed in range(3)]
    wait_until(lambda: len(worker._queue.busy) == 2)
    for number in range(2):
        time.sleep(0.1)
        pid = processes.processes[number].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert all(job.wait(120) and job.state == JobState.DONE for job in jobs)
    assert all(torch.equal(frames(made[seed]), alone(seed, 3 * SEGMENT)) for seed in made)
    wait_until(lambda: processes.num_alive == 2)
    assert processes.num_restarts == before + 2


def test_work_that_ends_every_process_ends_in_a_sentence(
    worker: Worker, pipe: MaltPipeline, processes: WorkerProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = WorkerProcess.run

    def run_and_fall(process: WorkerProcess, work: SegmentWork, on_step: Callable[[], None]) -> Any:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        return run(process, work, on_step)

    session = Session.begin(pipe, PROMPT)
    with monkeypatch.context() as patch:
        patch.setattr(WorkerProcess, "run", run_and_fall)
        job = worker.start(session, SEGMENT)
        assert job.wait(120)
    assert job.state == JobState.FAILED and "worker processes ended, one after another" in job.error
    wait_until(lambda: processes.num_alive == 2)


def test_a_job_of_which_nothing_more_is_wanted_ends_between_two_steps(worker: Worker, pipe: MaltPipeline) -> None:
    ends_between_two_steps(worker, pipe)


@pytest.mark.parametrize(("loads", "about"), [([load, refuse], "cuda:7"), ([fall], "ended while it loaded")])
def test_a_process_that_cannot_load_its_model_is_said_and_leaves_none(
    loads: list[Callable[[], MaltPipeline]], about: str
) -> None:
    with pytest.raises(MaltError, match=about):
        WorkerProcesses(loads)
