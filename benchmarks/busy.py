"""What a busy computer does to the time of a segment, with malt's care for waiting threads and without it.

    python benchmarks/busy.py [--threads 2] [--rounds 2] [--out docs/results/busy.json]

The default model, two cores. Each of three processes (one thread, several, several without care) makes segments while the
cores are idle; then while a process that this script starts takes one core for itself; then after that has left again.
All of it in turn, so that whatever else the computer does falls on all: the ratios are what counts. Without care, OpenMP
spins as long as it does by itself. Processor time shows whether threads that wait spin: idle and after should agree.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROMPT = "a red circle and a blue square pass behind a wall"
OPENMP_DEFAULT = {
    "GOMP_SPINCOUNT": "300000"
}  # what GNU's OpenMP takes where nothing is said; malt leaves it as it is set
CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
FEWEST, MOST, LONGEST = 3, 8, 3.0  # segments, segments, seconds of a phase
SETTLE = 2.5  # seconds after which malt has noticed that the load has come or gone
PHASES = ("idle", "busy", "after")


class Worker:
    """A process that makes a segment whenever it is told to."""

    def __init__(self, threads: int, choices: dict[str, str]) -> None:
        environ = {name: value for name, value in os.environ.items() if name not in CHOICES} | choices
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work", str(threads)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Worker":
        self.segment()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def segment(self) -> tuple[float, float]:
        """Seconds and processor seconds of the next segment."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, processor = json.loads(self._process.stdout.readline())
        return seconds, processor

    def phase(self) -> list[tuple[float, float]]:
        """Some segments, after those that it takes to settle."""
        self.until(time.monotonic() + SETTLE)
        ends, made = time.monotonic() + LONGEST, list[tuple[float, float]]()
        while len(made) < FEWEST or (len(made) < MOST and time.monotonic() < ends):
            made.append(self.segment())
        return made

    def until(self, moment: float) -> None:
        """Make segments until then."""
        while time.monotonic() < moment:
            self.segment()


def work(threads: int) -> None:
    """Make a segment for every line, and answer with its seconds and processor seconds."""
    from malt.commands.model_options import silence_libraries
    from malt.pipelines.loading import load_pipeline
    from malt.sessions.session import Session
    from malt.threads import use_threads

    silence_libraries()
    use_threads(threads)
    session = Session.begin(load_pipeline(None), PROMPT)
    for _ in sys.stdin:
        began, worked = time.perf_counter(), time.process_time()
        session.advance()
        print(json.dumps([time.perf_counter() - began, time.process_time() - worked]), flush=True)


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Have a process that never rests on this core."""
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(worker: Worker, core: int) -> dict[str, list[tuple[float, float]]]:
    """The three phases, once."""
    idle = worker.phase()
    with busy(core):
        loaded = worker.phase()
    return {"idle": idle, "busy": loaded, "after": worker.phase()}


def summary(rounds: list[dict[str, list[tuple[float, float]]]]) -> dict:
    """Medians over all rounds, a phase each, and how many segments they are of."""
    phases = {phase: [segment for one in rounds for segment in one[phase]] for phase in PHASES}
    return {
        phase: {
            "seconds": round(statistics.median(seconds for seconds, _ in segments), 4),
            "processor_seconds": round(statistics.median(processor for _, processor in segments), 4),
            "segments": len(segments),
        }
        for phase, segments in phases.items()
    }


def ratios(one: dict, several: dict, careless: dict) -> dict[str, float]:
    """What the figures say."""
    pairs = {
        "several idle threads over one": (several["idle"], one["idle"]),
        "busy over idle, one thread": (one["busy"], one["idle"]),
        "busy over idle, several threads": (several["busy"], several["idle"]),
        "busy over idle, several threads without care": (careless["busy"], careless["idle"]),
        "busy several threads over one idle": (several["busy"], one["idle"]),
        "busy several threads over one idle, without care": (careless["busy"], one["idle"]),
        "after over before, several threads": (several["after"], several["idle"]),
    }
    found = {name: upper["seconds"] / lower["seconds"] for name, (upper, lower) in pairs.items()}
    spinning = several["after"]["processor_seconds"] / several["idle"]["processor_seconds"]
    found["processor time after over before, several threads"] = spinning
    return {name: round(ratio, 3) for name, ratio in found.items()}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results/busy.json"))
    parser.add_argument("--work", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    from results import say, write  # brings torch, before which a worker has to import malt

    load_average = os.getloadavg()
    cores = sorted(os.sched_getaffinity(0))[: options.threads]
    os.sched_setaffinity(0, cores)
    with ExitStack() as stack:
        chosen = {"one": (1, {}), "several": (options.threads, {}), "careless": (options.threads, OPENMP_DEFAULT)}
        workers = {name: stack.enter_context(Worker(*choice)) for name, choice in chosen.items()}
        rounds: dict[str, list[dict[str, list[tuple[float, float]]]]] = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                rounds[name].append(measure(worker, cores[-1]))
    figures = {name: say(name, summary(made)) for name, made in rounds.items()}
    found = say("ratios", ratios(**figures))
    settings = {"threads": options.threads, "cores": len(cores), "denoising_steps": 12, "careless": OPENMP_DEFAULT}
    write(options.out, {"load_average_before": load_average, **settings, **figures, "ratios": found})


if __name__ == "__main__":
    main()
