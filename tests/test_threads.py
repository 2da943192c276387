"""Laws of waiting threads: asleep as soon as others need the cores, awake again when there is room; the user's choice stays."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from malt.errors import UsageError
from malt.threads import (
    SPINS,
    CoreUse,
    CoreWatch,
    num_cores,
    prepare_openmp,
    read_core_use,
    read_quota,
    should_sleep,
    threads_beside_a_browser,
    use_threads,
)

LINUX = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count")


def second(*, delayed: float = 0.0, own: float = 0.0, idle: float = 0.0) -> CoreUse:
    """What is counted in one second."""
    return CoreUse(clock=1.0, delayed=delayed, own=own, idle=idle)


class Recorder:
    """Remembers how threads are to wait."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def sleep(self) -> None:
        """Remember it."""
        self.said.append("sleep")

    def wake(self) -> None:
        """Remember it."""
        self.said.append("wake")


def test_threads_wait_awake_while_no_one_takes_their_cores() -> None:
    assert not should_sleep(False, second(delayed=0.02, own=2.0), num_cores=2, num_threads=2)


def test_threads_wait_asleep_as_soon_as_they_lack_a_core() -> None:
    assert should_sleep(False, second(delayed=0.5, own=1.5), num_cores=2, num_threads=2)


def test_threads_stay_asleep_while_another_process_takes_a_core() -> None:
    assert should_sleep(True, second(delayed=0.8, own=1.0, idle=0.02), num_cores=2, num_threads=2)


def test_threads_wake_when_there_is_room_though_they_are_still_delayed() -> None:
    assert not should_sleep(True, second(delayed=0.3, own=1.15, idle=0.84), num_cores=2, num_threads=2)


def test_few_threads_wake_beside_others_where_there_are_many_cores() -> None:
    assert not should_sleep(True, second(own=1.0, idle=4.0), num_cores=16, num_threads=4)


def test_a_watch_says_each_change_once() -> None:
    seconds = [second(own=2.0)] * 2 + [second(delayed=0.5, own=1.5)] * 3 + [second(own=1.2, idle=0.8)] * 2
    total, readings = CoreUse(0.0, 0.0, 0.0, 0.0), []
    for use in [total, *seconds]:
        total = CoreUse(
            total.clock + use.clock, total.delayed + use.delayed, total.own + use.own, total.idle + use.idle
        )
        readings.append(total)
    recorder = Recorder()
    watch = CoreWatch(recorder, num_threads=2, num_cores=2, read=iter(readings).__next__)
    for _ in seconds:
        watch.look()
        recorder.said.append("-")
    assert recorder.said == ["-", "-", "sleep", "-", "-", "-", "wake", "-", "-"]


@LINUX
def test_the_kernels_counters_only_grow_and_own_work_is_counted() -> None:
    before, began = read_core_use(), time.process_time()
    while time.process_time() - began < 0.03:
        pass
    use = read_core_use() - before
    assert use.clock > 0 and use.own > 0 and use.delayed >= 0 and use.idle >= 0


@LINUX
@pytest.mark.slow
def test_while_a_spare_team_exists_waiting_threads_sleep_and_after_it_they_spin() -> None:
    """In a process of its own: how long OpenMP spins is settled when it is loaded."""
    script = """
import time, re, torch
from pathlib import Path
from malt.threads import SpareTeam, num_cores
torch.set_num_threads(2)
libraries = sorted(set(re.findall(r"(/\\S.*/libgomp\\S*)$", Path("/proc/self/maps").read_text(), re.MULTILINE)))
numbers = torch.ones(1 << 18)
def spent():
    began = time.process_time()
    for _ in range(8):
        numbers.add_(1)
        time.sleep(0.02)
    return time.process_time() - began
team = SpareTeam(libraries, num_cores())
spent()
awake = spent()
team.sleep()
time.sleep(0.05)
asleep, threads = spent(), torch.get_num_threads()
team.wake()
time.sleep(0.05)
print(int(bool(libraries)), awake, asleep, spent(), threads)
"""
    chosen = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=chosen, capture_output=True, text=True, check=True, timeout=60
    )
    gnu, awake, asleep, after, threads = map(float, ran.stdout.split())
    if not gnu or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("another OpenMP, or a single core")
    assert asleep < 0.6 * awake and asleep < 0.6 * after and threads == 2


def test_what_the_user_chose_stays() -> None:
    for chosen in ({"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        environ = dict(chosen)
        prepare_openmp(environ)
        assert environ == chosen


def test_the_command_bounds_the_spinning_before_torch_is_imported() -> None:
    script = "import malt, os, sys; assert 'torch' not in sys.modules; print(os.environ['GOMP_SPINCOUNT'])"
    chosen = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    ran = subprocess.run([sys.executable, "-c", script], env=chosen, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == SPINS


def test_a_core_is_left_to_a_browser_and_what_the_user_chose_stays() -> None:
    assert 1 <= (threads_beside_a_browser({}) or 0) <= max(1, num_cores() - 1)
    assert threads_beside_a_browser({"OMP_NUM_THREADS": "2"}) is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_a_containers_quota_is_read_in_both_versions(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert read_quota(tmp_path) == cores


@pytest.mark.parametrize("count", [0, 100_000])
def test_a_number_of_threads_that_cannot_be_is_refused_in_a_sentence(count: int) -> None:
    with pytest.raises(UsageError, match=f"asked for {count} threads; give from 1 to"):
        use_threads(count)
