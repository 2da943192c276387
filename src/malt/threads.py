"""Lets the processor's threads wait awake while cores are idle, and asleep as soon as others need the cores.

Each operation ends where its threads wait for one another. Awake (spinning) they go on at once, but where another process
takes one of the cores, the thread that waits keeps the one it waits for from running: a segment takes 10 to 30 times as long.
GNU's OpenMP, which torch brings, reads how long to spin when it is loaded, so `prepare_openmp` bounds that before torch is
imported. Later nothing can change it, with one exception: where OpenMP keeps more threads than there are cores, its waiting
threads fall asleep almost at once. `watch_cores` makes use of that, at any time and without another number of threads, so
that what is computed stays the same to the bit: a second team of threads that do nothing but exist.
"""

import ctypes
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from malt.errors import UsageError
from malt.wording import counted

SPINS = "10000"  # about 0.3 ms: as fast as any longer on idle cores, and short enough for others to get theirs
OWN_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
NUMBERS = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}
MOST_DELAYED = 0.1  # seconds a second that threads may be ready without a core, until they wait asleep
MOST_TAKEN = 0.2  # cores that others may take of those needed, for threads to wait awake again
AWAKE_LOOK, ASLEEP_LOOK = 0.1, 1.0  # seconds between two looks; counters of idle time move in steps of 0.01 s
MOST_THREADS = 256
QUOTAS = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def prepare_openmp(environ: MutableMapping[str, str] = os.environ) -> None:
    """Bound how long OpenMP's threads spin, if torch is still to be imported and the user has not chosen."""
    if "torch" not in sys.modules and not any(name in environ for name in OWN_CHOICE):
        environ["GOMP_SPINCOUNT"] = SPINS


@dataclass(frozen=True)
class CoreUse:
    """Seconds counted since some moment in the past, over all cores that this process may use."""

    clock: float
    delayed: float
    """How long threads of this process were ready to run and had no core."""
    own: float
    idle: float

    def __sub__(self, earlier: "CoreUse") -> "CoreUse":
        return CoreUse(
            self.clock - earlier.clock,
            self.delayed - earlier.delayed,
            self.own - earlier.own,
            self.idle - earlier.idle,
        )


def read_core_use(proc: Path = Path("/proc")) -> CoreUse:
    """Read the kernel's counters.

    Raises:
        OSError: this system keeps none.
    """
    cores, tick = os.sched_getaffinity(0), os.sysconf("SC_CLK_TCK")
    times = re.findall(r"^cpu(\d+) (.+)$", (proc / "stat").read_text(), re.MULTILINE)
    idle = sum(sum(map(int, fields.split()[3:5])) for core, fields in times if int(core) in cores)
    own = os.times()
    return CoreUse(time.monotonic(), _seconds_delayed(proc), own.user + own.system, idle / tick)


def _seconds_delayed(proc: Path) -> float:
    nanoseconds = 0
    for thread in (proc / "self" / "task").iterdir():
        try:
            nanoseconds += int((thread / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            if thread.exists():  # the kernel does not count; otherwise the thread has just ended
                raise
    return nanoseconds / 1e9


def should_sleep(asleep: bool, use: CoreUse, *, num_cores: float, num_threads: int) -> bool:
    """Whether waiting threads are to sleep from now on, by what was used since the last look.

    Threads that sleep are delayed a little even where all cores are idle, so what lets them wake is room for all of them.
    """
    if not asleep:
        return use.delayed / use.clock > MOST_DELAYED
    room = (use.own + use.idle) / use.clock
    return room < min(num_cores, num_threads) - MOST_TAKEN


class Sleeper(Protocol):
    """What makes waiting threads sleep, and wakes them."""

    def sleep(self) -> None:
        """Let waiting threads fall asleep at once."""

    def wake(self) -> None:
        """Let them wait awake again."""


class SpareTeam:
    """A team of OpenMP threads, one more than there are cores, that does nothing: while it exists, threads wait asleep."""

    def __init__(self, libraries: list[str], num_cores: int) -> None:
        self._libraries = [ctypes.CDLL(library) for library in libraries]
        self._num_cores = num_cores
        self._released = threading.Event()

    def sleep(self) -> None:
        """Set up the team, in a thread of its own: it ends with that thread."""
        self._released = threading.Event()
        threading.Thread(target=self._hold, args=(self._released,), name="malt-spare-team", daemon=True).start()

    def wake(self) -> None:
        """Let the team go."""
        self._released.set()

    def _hold(self, released: threading.Event) -> None:
        nothing = ctypes.CDLL(None).free  # of NULL
        for library in self._libraries:
            library.GOMP_parallel(nothing, None, self._num_cores + 1, 0)
        released.wait()


class CoreWatch(threading.Thread):
    """Looks at the cores again and again, and says how threads are to wait."""

    def __init__(self, sleeper: Sleeper, *, num_threads: int, num_cores: float, read: Callable[[], CoreUse]) -> None:
        super().__init__(name="malt-core-watch", daemon=True)
        self.sleeper, self.num_threads, self.num_cores, self.read = sleeper, num_threads, num_cores, read
        self.asleep, self._last = False, read()

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            time.sleep(ASLEEP_LOOK if self.asleep else AWAKE_LOOK)
            self.look()

    def look(self) -> None:
        """Look once."""
        now = self.read()
        asleep = should_sleep(self.asleep, now - self._last, num_cores=self.num_cores, num_threads=self.num_threads)
        self._last = now
        if asleep != self.asleep:
            self.asleep = asleep
            (self.sleeper.sleep if asleep else self.sleeper.wake)()


_watch: CoreWatch | None = None


def watch_cores() -> None:
    """See to it that computing gets along with other processes, from now on; to be called before anything is computed.

    Where the user has chosen a number of threads or a way to wait, that stays. Where there is nothing to choose (one thread,
    another OpenMP than GNU's, a system that does not count what its cores do) nothing happens.
    """
    global _watch
    import torch

    respect_quota()
    num_threads = torch.get_num_threads()
    if _watch is not None and _watch.is_alive():
        _watch.num_threads = num_threads
        return
    if num_threads == 1 or "OMP_WAIT_POLICY" in os.environ or os.environ.get("GOMP_SPINCOUNT", SPINS) != SPINS:
        return
    try:
        loaded = Path("/proc/self/maps").read_text(errors="replace")
        libraries = sorted(set(re.findall(r"(/\S.*/libgomp\S*)$", loaded, re.MULTILINE)))
        if libraries:
            team = SpareTeam(libraries, num_cores())
            _watch = CoreWatch(team, num_threads=num_threads, num_cores=num_cores(), read=read_core_use)
            _watch.start()
    except OSError:
        return


def use_threads(count: int | None) -> None:
    """Compute with so many threads, or as many as fit here, and get along with other processes.

    Raises:
        UsageError: so many threads cannot be started.
    """
    import torch

    if count is not None:
        most = max(MOST_THREADS, num_cores())
        if not 1 <= count <= most:
            raise UsageError(
                f"asked for {count} threads; give from 1 to {most} (this computer has {counted(num_cores(), 'core')})"
            )
        torch.set_num_threads(count)
    watch_cores()


def threads_beside_a_browser(environ: Mapping[str, str] = os.environ) -> int | None:
    """As many threads as there are cores but one, which a browser on this computer draws with; None where the user has chosen.

    With a thread on that core too, a picture comes later, not sooner: all threads wait for the one that shares its core.
    """
    if NUMBERS & environ.keys():
        return None
    return max(1, math.ceil(min(num_cores(), read_quota())) - 1)


def respect_quota() -> None:
    """Use no more threads than a container's quota has cores, unless the user has chosen how many."""
    import torch

    allowed = num_cores()
    chosen = NUMBERS & os.environ.keys() or torch.get_num_threads() != allowed
    if not chosen and (quota := read_quota()) < allowed:
        torch.set_num_threads(max(1, math.ceil(quota)))


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_quota(root: Path = Path("/")) -> float:
    """How many cores' worth of time a container may take; infinite without a bound."""
    files = [root / path.lstrip("/") for path in QUOTAS]
    try:
        words = files[0].read_text().split() if files[0].exists() else [file.read_text().strip() for file in files[1:]]
        return math.inf if words[0] in ("max", "-1") else int(words[0]) / int(words[1])
    except (OSError, ValueError):
        return math.inf
