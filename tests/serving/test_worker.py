"""Laws of the worker: sessions take turns on one thread, nobody waits for another's reader, everyone lets go."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
import torch

import tiny_pipeline
from malt.errors import MaltError
from malt.rollouts.base import Segment
from malt.serving.engine.channel import Channel
from malt.serving.engine.worker import BusyError, JobState, Worker, run_in_fresh_thread
from malt.sessions.session import Session

SEGMENT = tiny_pipeline.SEGMENT
PIPE = tiny_pipeline.pipeline()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(max_running=2, max_waiting=2)
    yield worker
    worker.close()


def session(seed: int = 0) -> Session:
    return Session.begin(PIPE, tiny_pipeline.PROMPT, seed=seed)


def test_a_job_makes_what_its_session_alone_would_have_made_and_is_cut_to_its_length(worker: Worker) -> None:
    made: list[Segment] = []
    job = worker.start(session(7), SEGMENT + 3, made.append)
    assert job.wait(120)
    assert (job.state, job.frames_made) == (JobState.DONE, SEGMENT + 3)
    alone = torch.cat([segment.frames for segment in session(7).stream(SEGMENT + 3)], dim=1)
    assert torch.equal(torch.cat([segment.frames for segment in made], dim=1), alone[:, : SEGMENT + 3])


def test_sessions_take_turns_segment_by_segment(worker: Worker) -> None:
    order: list[int] = []
    gate = threading.Event()
    worker.do(gate.wait)

    def note(number: int, segment: Segment) -> None:
        order.append(number)

    jobs = [worker.start(session(), 4 * SEGMENT, partial(note, n)) for n in range(2)]
    gate.set()
    assert all(job.wait(120) for job in jobs)
    assert order == [0, 1] * 4


def test_a_reader_without_room_holds_up_only_his_own_session(worker: Worker) -> None:
    channel = Channel[Segment](worker.wake, capacity=1)
    slow = worker.start(session(), None, channel.put, has_room=channel.has_room)
    quick = worker.start(session(), 5 * SEGMENT)
    assert quick.wait(120)
    assert slow.frames_made == SEGMENT
    assert channel.get(60) is not None
    assert channel.get(60) is not None
    worker.cancel(slow)
    assert slow.wait(120)
    assert slow.state == JobState.CANCELLED


def test_those_who_find_no_room_wait_and_those_beyond_the_limit_are_refused(worker: Worker) -> None:
    jobs = [worker.start(session(), has_room=lambda: False) for _ in range(4)]
    with pytest.raises(BusyError, match="2 videos are being made and 2 wait"):
        worker.start(session())
    ended: list[JobState] = []
    kept = worker.start(session(), keep=True, on_end=lambda job: ended.append(job.state))
    worker.cancel(kept)
    assert kept.wait(120)
    assert ended == [JobState.CANCELLED]
    worker.cancel(jobs[0])
    assert jobs[0].wait(120)
    worker.do(lambda: None).result(120)
    assert [job.state for job in jobs[1:]] == [JobState.RUNNING, JobState.RUNNING, JobState.WAITING]


def test_what_goes_wrong_in_one_job_is_its_own_sentence_and_the_others_go_on(worker: Worker) -> None:
    def fail(segment: Segment) -> None:
        raise MaltError("the disk is full; make room")

    def stumble(segment: Segment) -> None:
        raise ZeroDivisionError("secret")

    broken, stumbling = (worker.start(session(), None, each) for each in (fail, stumble))
    whole = worker.start(session(), SEGMENT)
    assert broken.wait(120) and stumbling.wait(120) and whole.wait(120)
    assert (broken.state, broken.error) == (JobState.FAILED, "the disk is full; make room")
    assert "ZeroDivisionError" in stumbling.error and "secret" not in stumbling.error
    assert whole.state == JobState.DONE


def test_a_job_that_is_over_holds_on_to_nothing(worker: Worker) -> None:
    own = session()
    trace = weakref.ref(own)
    job = worker.start(own, SEGMENT)
    assert job.wait(120)
    del own
    worker.do(lambda: None).result(120)
    gc.collect()
    assert trace() is None


def test_closing_stops_every_job_and_refuses_new_ones() -> None:
    worker = Worker(max_running=1)
    jobs = [worker.start(session()) for _ in range(2)]
    worker.close()
    assert [job.state for job in jobs] == [JobState.STOPPED] * 2
    with pytest.raises(BusyError, match="shutting down"):
        worker.start(session())
    with pytest.raises(BusyError, match="shutting down"):
        worker.do(lambda: None)


def test_a_channel_brings_what_a_thread_puts_in_to_a_coroutine() -> None:
    channel = Channel[int](lambda: None)

    def send() -> None:
        channel.put(1)
        channel.put(2)
        channel.close()

    async def read() -> list[int]:
        threading.Timer(0.02, send).start()
        return [item async for item in iterate()]

    async def iterate() -> AsyncIterator[int]:
        while (item := await channel.take()) is not None:
            yield item

    assert asyncio.run(read()) == [1, 2]
    channel.put(3)
    assert channel.get(0) is None


def test_a_channel_says_when_nothing_came() -> None:
    with pytest.raises(TimeoutError):
        Channel[int](lambda: None).get(0.01)


def test_what_is_done_aside_is_done_in_a_thread_that_is_gone_afterwards() -> None:
    used = run_in_fresh_thread(threading.current_thread)
    assert used is not threading.current_thread() and not used.is_alive()
    with pytest.raises(MaltError):
        run_in_fresh_thread(_fail)


def _fail() -> None:
    raise MaltError("it cannot be loaded")
