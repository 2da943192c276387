"""Laws of the worker: sessions take turns on one thread, nobody waits for another's reader, everyone lets go."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from unittest import mock

import pytest
import torch

import tiny_pipeline
from malt.errors import MaltError
from malt.rollouts.base import RolloutState, Segment
from malt.serving.engine import joint_turn
from malt.serving.engine.channel import Channel
from malt.serving.engine.fresh_thread import run_in_fresh_thread
from malt.serving.engine.job import Job, JobState
from malt.serving.engine.participant import Participant
from malt.serving.engine.turns import Turns
from malt.serving.engine.work_queue import BusyError
from malt.serving.engine.worker import Worker
from malt.sessions.joint_advance import NextSegment
from malt.sessions.session import Session

SEGMENT = tiny_pipeline.SEGMENT
PIPE = tiny_pipeline.pipeline()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(max_running=2, max_waiting=2)
    yield worker
    worker.close()


def session(seed: int = 0, *, steps: int | None = None, side: int | None = None) -> Session:
    return Session.begin(PIPE, tiny_pipeline.PROMPT, seed=seed, num_inference_steps=steps, height=side, width=side)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def as_job(own: Session) -> Job:
    return Job(own)


def test_a_job_makes_what_its_session_alone_would_have_made_and_is_cut_to_its_length(worker: Worker) -> None:
    made: list[Segment] = []
    job = worker.start(session(7), SEGMENT + 3, made.append)
    assert job.wait(120)
    assert (job.state, job.frames_made) == (JobState.DONE, SEGMENT + 3)
    alone = torch.cat([segment.frames for segment in session(7).stream(SEGMENT + 3)], dim=1)
    assert torch.equal(torch.cat([segment.frames for segment in made], dim=1), alone[:, : SEGMENT + 3])


def test_turns_are_dealt_out_by_time_and_newcomers_begin_where_the_others_stand() -> None:
    turns, dear, cheap = Turns(3), as_job(session()), as_job(session())
    turns.waiting.extend([dear, cheap])

    def take(count: int) -> list[Participant]:
        taken = []
        for _ in range(count):
            turns.settle(0.0)
            (job,) = turns.choose()
            job.spent += 5.0 if job is dear else 1.0
            taken.append(job)
        return taken

    assert take(12).count(cheap) == 10
    late = as_job(session())
    turns.waiting.append(late)
    assert take(4)[0] is late
    assert 3 <= take(6).count(late) <= 4


def test_a_cheap_job_has_its_turns_in_the_midst_of_a_dear_segment(worker: Worker) -> None:
    dear = worker.start(session(steps=400))
    until(lambda: worker._queue.busy)
    cheap = worker.start(session(), 3 * SEGMENT)
    assert cheap.wait(120)
    assert (cheap.state, dear.frames_made) == (JobState.DONE, 0)
    alone = worker.do_soon(lambda: session(9)).result(120)  # nor does what begins a job wait
    assert (alone.num_frames, dear.frames_made) == (0, 0)


def test_what_was_interrupted_is_what_it_would_have_been() -> None:
    worker, made = Worker(), list[Segment]()
    dear = worker.start(session(3, steps=20), SEGMENT, made.append)
    until(lambda: worker._queue.busy)
    cheap = [worker.start(session(n), 2 * SEGMENT) for n in range(2)]
    assert dear.wait(120) and all(job.wait(120) for job in cheap)
    worker.close()
    (alone,) = session(3, steps=20).stream(SEGMENT)
    assert torch.equal(made[0].frames, alone.frames)


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_a_job_ends_between_two_steps(way: str) -> None:
    worker, own = Worker(), session(steps=1000)
    job = worker.start(own)
    until(lambda: worker._queue.busy)
    worker.cancel(job) if way == "cancel" else worker.close()
    assert job.wait(120)
    assert (job.state, own.num_frames) == (JobState.CANCELLED if way == "cancel" else JobState.STOPPED, 0)
    worker.close()


def test_nothing_touches_a_session_in_the_midst_of_its_segment(worker: Worker) -> None:
    own = session(steps=20)
    job = worker.start(own, SEGMENT)
    until(lambda: worker._queue.busy)
    assert worker.do(lambda: own.num_frames).result(120) == SEGMENT
    assert job.wait(120)


def test_a_worker_that_finishes_nothing_says_for_how_long() -> None:
    now = [0.0]
    worker, gate = Worker(clock=lambda: now[0]), threading.Event()
    assert worker.silent_seconds == 0
    worker.do(gate.wait)
    now[0] = 90.0
    assert worker.silent_seconds == 90
    gate.set()
    worker.do(lambda: None).result(120)
    until(lambda: worker.silent_seconds == 0)
    worker.close()


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


def test_those_beyond_the_limit_are_refused(worker: Worker) -> None:
    for _ in range(4):
        worker.start(session(), has_room=lambda: False)
    with pytest.raises(BusyError, match="videos are being made and . wait"):
        worker.start(session())
    ended: list[JobState] = []
    kept = worker.start(session(), keep=True, on_end=lambda job: ended.append(job.state))
    worker.cancel(kept)
    assert kept.wait(120)
    assert ended == [JobState.CANCELLED]


def test_a_job_without_room_gives_up_its_place_and_comes_back(worker: Worker) -> None:
    room = threading.Event()
    paused = [worker.start(session(), SEGMENT, has_room=room.is_set) for _ in range(2)]
    others = [worker.start(session(), SEGMENT) for _ in range(2)]
    assert all(job.wait(120) for job in others)
    assert [job.state for job in paused] == [JobState.RUNNING] * 2
    room.set()
    worker.wake()
    assert all(job.wait(120) and job.state == JobState.DONE for job in paused)


def test_a_job_that_has_no_room_for_too_long_is_cancelled() -> None:
    worker = Worker(max_paused=0.05)
    job = worker.start(session(), has_room=lambda: False)
    assert job.wait(120)
    assert job.state == JobState.CANCELLED
    worker.close()


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


def test_jobs_of_one_size_go_through_one_pass_and_are_what_they_were_up_to_rounding() -> None:
    worker, made, passes = Worker(max_together=4), dict[int, list[Segment]](), list[int]()
    plain = joint_turn.advance_together

    def counted(
        each: Sequence[NextSegment], *, between: Callable[[], None] | None = None
    ) -> list[tuple[Segment, RolloutState]]:
        passes.append(len(each))
        return plain(each, between=between)

    with mock.patch.object(joint_turn, "advance_together", counted):
        gate = threading.Event()
        worker.do(gate.wait)
        jobs = [worker.start(session(n), (2 + n) * SEGMENT, made.setdefault(n, []).append) for n in range(3)]
        gate.set()
        assert all(job.wait(120) and job.state == JobState.DONE for job in jobs)
    worker.close()
    assert passes == [3, 2, 1]
    for number, segments in made.items():
        alone = list(session(number).stream((2 + number) * SEGMENT))
        assert len(segments) == len(alone)
        for one, other in zip(segments, alone, strict=True):
            torch.testing.assert_close(one.frames, other.frames, atol=1e-3, rtol=0)


def test_a_pass_that_fails_costs_only_the_job_whose_fault_it_is() -> None:
    worker, gate = Worker(max_together=4), threading.Event()
    broken = session(1)
    worker.do(gate.wait)

    def break_it(segment: Segment) -> None:
        broken.state = replace(broken.state, settings={**broken.state.settings, "num_inference_steps": 0})
        broken.set_prompt("another")

    jobs = [worker.start(session(0), 3 * SEGMENT), worker.start(broken, 3 * SEGMENT, break_it)]
    gate.set()
    assert all(job.wait(120) for job in jobs)
    worker.close()
    assert [job.state for job in jobs] == [JobState.DONE, JobState.FAILED]
