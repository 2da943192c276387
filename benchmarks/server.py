"""What `malt serve` costs: 8 streams at once against one, memory after many sessions, seconds to the first picture.

    python benchmarks/server.py [--checkpoint DIR] [--threads 2] [--out docs/results/server.json]

The server is a process of its own and everything is measured from outside, over HTTP on the loopback. Runs with one stream
and with several alternate, and medians are compared.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from results import say, write

PROMPT = "a red circle and a blue square pass behind a wall"
SECONDS_BETWEEN_LOOKS = 0.2


@contextmanager
def serving(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """A server; gives its address and the number of its process."""
    chosen = ["--checkpoint", str(options.checkpoint)] if options.checkpoint else []
    settings = ["--port", "0", "--data", str(folder), "--threads", str(options.threads), "--device", options.device]
    settings += ["--max-stored", "1000000"]
    environment = {name: value for name, value in os.environ.items() if name != "MALT_TOKEN"}
    process = subprocess.Popen(
        [sys.executable, "-m", "malt", "serve", *settings, *chosen], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://\S+", said)
        if found is None:
            raise SystemExit(f"the server did not start: {said}{process.stderr.read()}")
        yield found[0], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def stream(address: str, num_frames: int, seed: int = 0) -> float:
    """Read a stream to its end; the seconds until its first bytes."""
    began, first = time.perf_counter(), 0.0
    query = urlencode({"prompt": PROMPT, "num_frames": num_frames, "seed": seed})
    with urlopen(f"{address}/v1/stream?{query}") as answer:
        while answer.read1(2**16):
            first = first or time.perf_counter() - began
    return first


def job(address: str, num_frames: int, seed: int) -> None:
    """Have a video made, and fetch it."""
    body = json.dumps({"prompt": PROMPT, "num_frames": num_frames, "seed": seed}).encode()
    with urlopen(Request(f"{address}/v1/videos", body, {"Content-Type": "application/json"})) as answer:
        name = json.load(answer)["id"]
    status = "queued"
    while status in ("queued", "in_progress"):
        time.sleep(SECONDS_BETWEEN_LOOKS)
        with urlopen(f"{address}/v1/videos/{name}") as answer:
            status = json.load(answer)["status"]
    if status != "completed":
        raise SystemExit(f"a video was not made: {status}")
    with urlopen(f"{address}/v1/videos/{name}/content") as answer:
        answer.read()


def frames_per_second(address: str, num_streams: int, num_frames: int) -> float:
    """Frames a second of all streams together, `num_frames` between them."""
    began = time.perf_counter()
    with ThreadPoolExecutor(num_streams) as pool:
        list(pool.map(lambda seed: stream(address, num_frames // num_streams, seed), range(num_streams)))
    return num_frames / (time.perf_counter() - began)


def resident_bytes(process: int) -> int:
    """Resident memory of a process now."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


def memory(address: str, process: int, counts: tuple[int, int], num_frames: int) -> list[int]:
    """Resident memory after so many finished sessions, jobs and streams in turn."""
    resident = []
    for number in range(1, counts[1] + 1):
        job(address, num_frames, number) if number % 2 else stream(address, num_frames, number)
        if number in counts:
            resident.append(resident_bytes(process))
    return resident


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--frames", type=int, default=1024, help="of all streams together")
    parser.add_argument("--sessions", type=int, nargs=2, default=(10, 200))
    parser.add_argument("--session-frames", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/server.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(Path(name), options) as (address, process):
        stream(address, options.session_frames)
        first = [stream(address, options.session_frames, seed) for seed in range(3)]
        resident = memory(address, process, tuple(options.sessions), options.session_frames)
        runs = [
            [frames_per_second(address, count, options.frames) for count in (1, options.streams)]
            for _ in range(options.runs)
        ]
    one, many = (statistics.median(run[n] for run in runs) for n in range(2))
    streams = {"streams": options.streams, "one": one, "many": many, "ratio": many / one, "runs": runs}
    sessions = {"sessions": list(options.sessions), "bytes": resident, "ratio": resident[1] / resident[0]}
    figures = {
        "frames_per_second": say("frames/s of all streams", streams),
        "resident_memory": say("resident memory", sessions),
        "seconds_to_first_piece": say("first piece, warm", {"runs": first})["runs"],
        "threads": options.threads,
    }
    write(options.out, figures)


if __name__ == "__main__":
    main()
