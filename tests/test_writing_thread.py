"""Laws of the thread that writes a segment while the next one is computed."""

import signal
import threading
import time

import pytest

from malt.commands.writing_thread import WritingThread
from malt.errors import MaltError


def test_work_is_done_beside_what_goes_on_and_one_behind_the_other() -> None:
    may, done = threading.Event(), list[int]()

    def first() -> None:
        assert may.wait(60)
        done.append(1)

    with WritingThread() as thread:
        thread.do(first)
        assert done == []
        may.set()
        thread.do(lambda: done.append(2))  # waits for the first
        assert done[0] == 1
    assert done == [1, 2]


def test_what_fails_is_raised_where_the_next_work_is_given() -> None:
    def fail() -> None:
        raise MaltError("the disk is full")

    done = list[int]()
    with pytest.raises(MaltError, match="the disk is full"), WritingThread() as thread:
        thread.do(fail)
        thread.do(lambda: done.append(2))
    assert done == []


def test_the_last_failure_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise MaltError("the disk is full")

    with pytest.raises(MaltError, match="the disk is full"), WritingThread() as thread:
        thread.do(fail)


def test_what_was_made_is_written_though_the_run_is_interrupted() -> None:
    may, done = threading.Event(), list[int]()

    def work() -> None:
        assert may.wait(60)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), WritingThread() as thread:
        thread.do(work)
        may.set()
        raise KeyboardInterrupt
    assert done == [1]


def test_a_failure_is_not_lost_where_the_wait_for_it_is_interrupted() -> None:
    may = threading.Event()

    def fail() -> None:
        assert may.wait(60)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.2)  # the interrupt comes first
        raise MaltError("the disk is full")

    with pytest.raises(MaltError, match="the disk is full"), WritingThread() as thread:
        thread.do(fail)
        may.set()
        thread.wait()
