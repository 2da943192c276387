"""What `malt serve` withstands: kill -9 at random moments, the dearest legal order, clients that stall, an end in mid-segment.

    python benchmarks/server_faults.py [--kills 15 15 30] [--only kills] [--out docs/results/server-faults.json]

Servers are processes of their own, forked from one that has the libraries and a model, so that a kill costs no import. What is
measured is what a client sees, over HTTP on the loopback.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil
import torch
from results import say, write

from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.pipelines.packaged import packaged_models
from malt.serving.app import Service, create_app
from malt.serving.engine.remote_rollout import compute_elsewhere
from malt.serving.engine.segment_work import Executor
from malt.serving.engine.worker import Worker
from malt.serving.engine.worker_processes import WorkerProcesses
from malt.serving.limits import Limits
from malt.serving.uvicorn_runner import serve
from malt.sessions.session import Session

PROMPT = "a red circle and a blue square pass behind a wall"
NUM_JOBS, NUM_STALLED = 3, 60
STALLS = (
    b"",
    b"GET /v1/vid",
    b"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
    b"GET /v1/stream?prompt=a%20red%20circle HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)


def load(model: str) -> MaltPipeline:
    torch.set_num_threads(1)
    return load_pipeline(packaged_models()[model])


class Served:
    """A server on a folder: begun, killed, and begun again on the same."""

    def __init__(self, folder: Path, pipe: object, model: str, num_workers: int = 0, on_ray: bool = False) -> None:
        self.folder, self.pipe, self.model, self.num_workers, self.on_ray = folder, pipe, model, num_workers, on_ray
        self.process: BaseProcess | None = None
        self.address = ""

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.process = get_context("fork").Process(target=self._serve, args=(listener,))
        self.process.start()
        listener.close()
        while True:
            with suppress(URLError, ConnectionError):
                if self.get("/healthz"):
                    return
            time.sleep(0.05)

    def _serve(self, listener: socket.socket) -> None:
        torch.set_num_threads(1)
        service = Service(
            pipe=self.pipe,  # type: ignore[arg-type]
            name=self.model,
            data=self.folder,
            limits=Limits(attempts=1000),
            executor=self._executor() if self.num_workers else None,
        )
        serve(create_app(service), service, listener)

    def _executor(self) -> Executor:
        one = partial(load, self.model)
        if not self.on_ray:
            return WorkerProcesses([one] * self.num_workers)
        from malt.serving.engine.ray_replicas import RayReplicas, ReplicaCount, join_cluster

        count = ReplicaCount(least=self.num_workers, most=self.num_workers)
        return RayReplicas(one, count, {"num_cpus": 0.5}, is_ours=join_cluster(None))

    def end(self, number: signal.Signals) -> float:
        """Send it a signal; the seconds until it is no more."""
        assert self.process is not None and self.process.pid is not None
        began = time.perf_counter()
        os.kill(self.process.pid, number)
        self.process.join()
        return time.perf_counter() - began

    def kill_a_worker(self, chance: random.Random) -> None:
        """Kill one of its worker processes, which are children of its fork server, or one of its replicas, as Ray names them."""
        assert self.process is not None
        below = psutil.Process(self.process.pid).children(recursive=True)
        if self.on_ray:
            workers = [each for each in below if "".join(each.cmdline()).startswith("ray::ServeReplica")]
        else:
            workers = [each for each in below if each.ppid() != self.process.pid]
        chance.choice(workers).kill()

    def ask(self, path: str, **body: object) -> dict:
        data = json.dumps(body).encode() if body else b""
        with urlopen(Request(self.address + path, data, {"Content-Type": "application/json"})) as answer:
            return json.load(answer)

    def get(self, path: str) -> bytes:
        with urlopen(self.address + path) as answer:
            return answer.read()

    def record(self, name: str) -> dict:
        return json.loads(self.get(f"/v1/videos/{name}"))


@contextmanager
def served(folder: Path, *settings: object) -> Iterator[Served]:
    server = Served(folder, *settings)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.is_alive():
            server.end(signal.SIGTERM)


def begin_jobs(server: Served, options: argparse.Namespace) -> list[str]:
    asked = {"prompt": PROMPT, "num_frames": options.frames}
    return [server.ask("/v1/videos", **asked, seed=seed)["id"] for seed in range(NUM_JOBS)]


def videos(server: Served, names: list[str]) -> list[bytes]:
    """The videos, once they are made; then they are deleted."""
    while any(server.record(name)["status"] in ("queued", "in_progress") for name in names):
        time.sleep(0.1)
    made = [server.get(f"/v1/videos/{name}/content") for name in names]
    for name in names:
        urlopen(Request(f"{server.address}/v1/videos/{name}", method="DELETE")).close()
    return made


def kills(options: argparse.Namespace, pipe: object) -> dict:
    """Three jobs at a time, a kill at a random one of their frames, and whether every byte is what it would have been."""
    chance, rounds = random.Random(options.seed), list[dict]()
    with tempfile.TemporaryDirectory() as name, served(Path(name), pipe, options.model) as server:
        began = time.perf_counter()
        unbroken = videos(server, begin_jobs(server, options))
        seconds = time.perf_counter() - began
    for (of, num_workers), count in zip((("server", 0), ("worker", 2), ("replica", 2)), options.kills, strict=True):
        if not count:
            continue
        with (
            tempfile.TemporaryDirectory() as name,
            served(Path(name), pipe, options.model, num_workers, of == "replica") as server,
        ):
            for _ in range(count):
                names = begin_jobs(server, options)
                wanted = chance.randrange(NUM_JOBS * options.frames)
                while sum(at := [server.record(each)["frames_made"] for each in names]) < wanted:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, seconds / 20))  # into a segment
                if num_workers:
                    server.kill_a_worker(chance)
                else:
                    server.end(signal.SIGKILL)
                    server.start()
                same = videos(server, names) == unbroken
                rounds.append(say("kill", {"of": of, "at": at, "same": same}))
    return {"same": sum(each["same"] for each in rounds), "kills": len(rounds), "rounds": rounds}


def gaps(worker: Worker, pipe: object, num_frames: int) -> list[float]:
    """Seconds of the computing thread from a session's start to its first segment and from each to the next."""
    times = [worker.do_soon(time.thread_time).result()]
    session = worker.do_soon(lambda: Session.begin(pipe, PROMPT)).result()  # type: ignore[arg-type]
    worker.start(session, num_frames, lambda segment: times.append(time.thread_time())).wait()
    return [after - before for before, after in pairwise(times)]


def silence(options: argparse.Namespace, pipe: object) -> dict:
    """The longest silence of a session beside the dearest that may be asked for, in its own segments.

    Counted in the seconds of the one thread that computes, which others on the machine do not lengthen.
    """
    runs, worker = [], Worker()
    gaps(worker, pipe, options.frames)
    for _ in range(options.runs):
        alone = statistics.median(gaps(worker, pipe, 4 * options.frames)[1:])
        dear = worker.start(Session.begin(pipe, PROMPT, seed=1, num_inference_steps=Limits().steps))  # type: ignore[arg-type]
        while not dear.spent:
            time.sleep(0.01)
        beside = gaps(worker, pipe, 4 * options.frames)
        worker.cancel(dear)
        dear.wait()
        runs.append({"alone": alone, "longest": max(beside[1:]), "first": beside[0], "segments": max(beside) / alone})
    worker.close()
    return {"segments": max(run["segments"] for run in runs), "steps": Limits().steps, "runs": runs}


def ends(server: Served) -> dict:
    """Seconds from a cancel, and from SIGTERM, in the midst of the dearest segment until it has ended."""
    cancels = []
    for _ in range(5):
        name = server.ask("/v1/videos", prompt=PROMPT, num_inference_steps=100, num_frames=64)["id"]
        time.sleep(0.5)
        began = time.perf_counter()
        server.ask(f"/v1/videos/{name}/cancel")
        while server.record(name)["status"] in ("queued", "in_progress"):
            time.sleep(0.01)
        cancels.append(time.perf_counter() - began)
    server.ask("/v1/videos", prompt=PROMPT, num_inference_steps=100, num_frames=64)
    time.sleep(0.5)
    return {"cancel": max(cancels), "cancels": cancels, "sigterm": server.end(signal.SIGTERM)}


def stalls(server: Served) -> dict:
    """Seconds that one more client waits beside 60 that stall: for a list, a finished video, and word that a new one is taken."""
    host, port = server.address.removeprefix("http://").split(":")
    asked = {"prompt": PROMPT, "num_frames": 8}
    there = server.ask("/v1/videos", **asked)["id"]
    while server.record(there)["status"] != "completed":
        time.sleep(0.1)
    calls = {
        "listed": lambda: server.get("/v1/videos"),
        "fetched": lambda: server.get(f"/v1/videos/{there}/content"),
        "taken": lambda: server.ask("/v1/videos", **asked),
    }
    with ExitStack() as stack:
        for number in range(NUM_STALLED):
            stalled = stack.enter_context(socket.create_connection((host, int(port))))
            stalled.sendall(STALLS[number % len(STALLS)])
        time.sleep(2)
        return {name: _seconds(call) for name, call in calls.items()}


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def per_cpu_second(pipe: object, count: int, max_together: int, num_frames: int) -> float:
    """Frames for a second of the processor, of so many sessions."""
    worker = Worker(max_running=count, max_together=max_together)
    sessions = [Session.begin(pipe, PROMPT, seed=seed) for seed in range(count)]  # type: ignore[arg-type]
    began = time.process_time()
    jobs = [worker.start(session, num_frames) for session in sessions]
    for job in jobs:
        job.wait()
    seconds = time.process_time() - began
    worker.close()
    return count * num_frames / seconds


def batching(options: argparse.Namespace, pipe: object) -> dict:
    """16 sessions in one pass over 16 in turn, in frames for a second of the processor, one thread, the two alternating."""
    runs = [[per_cpu_second(pipe, 16, most, options.frames) for most in (1, 16)] for _ in range(options.runs)]
    turns, batch = (statistics.median(run[n] for run in runs) for n in range(2))
    return {"in_turn": turns, "batched": batch, "ratio": batch / turns, "runs": runs}


def by_workers(model: str, count: int, num_frames: int, num_sessions: int = 4, max_together: int = 1) -> dict:
    """What sessions cost that so many worker processes of one thread each make, up to `max_together` in one pass."""
    pipe, processes = load(model), WorkerProcesses([partial(load, model)] * count)
    compute_elsewhere(pipe, processes)
    worker = Worker(num_threads=count, max_running=num_sessions, max_together=max_together)
    sessions = [Session.begin(pipe, PROMPT, seed=seed) for seed in range(num_sessions)]
    each = [psutil.Process(process.pid) for process in processes.processes]
    before, own, began = [sum(one.cpu_times()[:2]) for one in each], time.process_time(), time.perf_counter()
    jobs = [worker.start(session, num_frames) for session in sessions]
    for job in jobs:
        job.wait()
    wall, here = time.perf_counter() - began, time.process_time() - own
    there = [sum(one.cpu_times()[:2]) - start for one, start in zip(each, before, strict=True)]
    worker.close()
    processes.close()
    frames = len(sessions) * num_frames
    return {
        "frames_a_cpu_second": frames / (here + sum(there)),
        "frames_a_second": frames / wall,
        "here": here,
        "there": there,
    }


def workers(options: argparse.Namespace) -> dict:
    """Two worker processes over one, by the clock and by the processor's seconds; the latter where others compute beside them."""
    runs = [[by_workers(options.model, count, options.frames) for count in (1, 2)] for _ in range(options.runs)]

    def ratio(name: str) -> float:
        one, two = (statistics.median(run[n][name] for run in runs) for n in range(2))
        return two / one

    return {"by_cpu": ratio("frames_a_cpu_second"), "by_clock": ratio("frames_a_second"), "runs": runs}


def both(options: argparse.Namespace) -> dict:
    """16 sessions on two worker processes, 8 in a pass, over 16 in turn on one of them and on both, by the clock."""
    ways = {"in turn on one": (1, 1), "in turn on two": (2, 1), "8 in a pass on two": (2, 8)}
    runs = [
        {name: by_workers(options.model, count, options.frames, 16, most) for name, (count, most) in ways.items()}
        for _ in range(options.runs)
    ]
    found = {name: statistics.median(run[name]["frames_a_second"] for run in runs) for name in ways}
    batched = found["8 in a pass on two"]
    return {"frames_a_second": found, "over": {name: batched / each for name, each in found.items()}, "runs": runs}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument(
        "--kills",
        type=int,
        nargs=3,
        default=(15, 15, 0),
        help="of the server, of a worker of two, of a Ray replica of two",
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--only",
        nargs="+",
        help="of these alone: batching, workers, both, kills, stalls, silence, ends; the others stay",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/server-faults.json"))
    options = parser.parse_args()
    pipe = load(options.model)
    measured = {
        "batching": lambda: batching(options, pipe),
        "workers": lambda: workers(options),
        "both": lambda: both(options),
        "kills": lambda: kills(options, pipe),
        "stalls": lambda: on_a_server(options, pipe, stalls),
        "silence": lambda: silence(options, pipe),
        "ends": lambda: on_a_server(options, pipe, ends),
    }
    figures = json.loads(options.out.read_text())["figures"] if options.out.is_file() else {}
    for name in options.only or measured:
        about = {"model": options.model, "frames": options.frames, "load": os.getloadavg()[0]}
        figures[name] = say(name, measured[name]() | about)
        write(options.out, figures)


def on_a_server(options: argparse.Namespace, pipe: object, measure: Callable[[Served], dict]) -> dict:
    """What is measured on a server of its own."""
    with tempfile.TemporaryDirectory() as name, served(Path(name), pipe, options.model) as server:
        return measure(server)


if __name__ == "__main__":
    main()
