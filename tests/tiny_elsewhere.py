"""A tiny model that is loaded elsewhere, and what is asked of it there: by worker processes, or by replicas on a cluster."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

import tiny_pipeline
from malt.errors import UsageError
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import Segment
from malt.serving.engine.job import Job, JobState
from malt.serving.engine.worker import Worker
from malt.sessions.session import Session
from tiny_pipeline import PROMPT, SEGMENT
from tiny_server import wait_until

STEPS = 40


def load() -> MaltPipeline:
    torch.set_num_threads(1)
    return tiny_pipeline.pipeline()


def refuse() -> MaltPipeline:
    raise UsageError("cannot compute on the device 'cuda:7' here; give auto, cpu or one that is there")


def frames(segments: list[Segment]) -> Tensor:
    return torch.cat([segment.frames for segment in segments], dim=1)


def alone(seed: int, num_frames: int) -> Tensor:
    own = Session.begin(tiny_pipeline.pipeline(), PROMPT, seed=seed, num_inference_steps=STEPS)
    return frames(list(own.stream(num_frames)))


def start(worker: Worker, pipe: MaltPipeline, seed: int, made: Callable[[Segment], None]) -> Job:
    session = Session.begin(pipe, PROMPT, seed=seed, num_inference_steps=STEPS)
    return worker.start(session, 3 * SEGMENT, made)


def ends_between_two_steps(worker: Worker, pipe: MaltPipeline) -> None:
    """Assert that a job that is cancelled ends soon, and that its session is where it was and goes on."""
    session = Session.begin(pipe, PROMPT, num_inference_steps=2000)
    job = worker.start(session)
    wait_until(lambda: worker._queue.busy)
    began = time.monotonic()
    worker.cancel(job)
    assert job.wait(60) and job.state == JobState.CANCELLED
    assert time.monotonic() - began < 10
    assert (session.num_frames, session.advance().frames.shape[1]) == (0, SEGMENT)
