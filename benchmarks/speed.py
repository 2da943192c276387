"""How fast the default model writes video, and whether that or its memory depends on the video's length.

    python benchmarks/speed.py [--checkpoint DIR] [--threads 2] [--compile] [--runs 3]
                               [--out docs/results/speed.json]

Whole processes are timed and measured from outside, as a user would see them, several times. A processor may be faster
in the first seconds of a run than later, so segment 200 and segment 5 are compared twice: within one run, and turn by
turn in one process, where whatever else the machine does falls on both.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from results import say, write

from malt.pipelines.loading import load_pipeline
from malt.sessions.session import Session

PROMPT = "a red circle and a blue square pass behind a wall"


def generate(folder: Path, num_frames: int, options: argparse.Namespace) -> dict:
    """Run `malt generate` in a process of its own and hand back its report."""
    out, report = folder / f"{num_frames}.mp4", folder / f"{num_frames}.json"
    arguments = [
        "--frames",
        str(num_frames),
        "--out",
        str(out),
        "--report",
        str(report),
        "--threads",
        str(options.threads),
    ]
    chosen = ["--checkpoint", str(options.checkpoint)] if options.checkpoint else []
    chosen += ["--compile"] if options.compile else []
    subprocess.run([sys.executable, "-m", "malt", "generate", PROMPT, *arguments, *chosen], check=True)
    return json.loads(report.read_text())


def seconds_to_first_segment(folder: Path, options: argparse.Namespace) -> float:
    """From starting the command to the first segment in the file."""
    out = folder / "first.mp4"
    chosen = ["--checkpoint", str(options.checkpoint)] if options.checkpoint else []
    began = time.perf_counter()
    arguments = ["--frames", "64", "--out", str(out), "--threads", str(options.threads), *chosen]
    process = subprocess.Popen(
        [sys.executable, "-m", "malt", "generate", PROMPT, *arguments], stderr=subprocess.DEVNULL
    )
    header = 2000  # bytes of an MP4 file before its first fragment
    while process.poll() is None and not (out.exists() and out.stat().st_size > header):
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    process.wait()
    return seconds


def turn_by_turn(options: argparse.Namespace, early: int = 5, late: int = 200, turns: int = 15) -> dict:
    """Seconds of the early and of the late segment of one video, each made `turns` times from where it begins."""
    torch.set_num_threads(options.threads)
    session = Session.begin(load_pipeline(options.checkpoint), PROMPT)
    states = []
    for count in range(1, late):
        session.advance()
        if count in (early - 1, late - 1):
            states.append(session.state)
    seconds: list[list[float]] = [[], []]
    for _ in range(turns):
        for state, taken in zip(states, seconds, strict=True):
            again, began = Session(session.pipe, state), time.perf_counter()
            again.advance()
            taken.append(time.perf_counter() - began)
    medians = [statistics.median(taken) for taken in seconds]
    return {"segments": [early, late], "turns": turns, "seconds": medians, "ratio": medians[1] / medians[0]}


def seconds_of_help() -> float:
    """Median of five runs of `malt --help`."""
    runs = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "malt", "--help"], check=True, stdout=subprocess.DEVNULL)
        runs.append(time.perf_counter() - began)
    return statistics.median(runs)


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="time `malt generate --compile`, and nothing else by it")
    parser.add_argument("--frames", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/speed.json"))
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as name:
        for folder in _folders(Path(name), options.runs):
            runs.append([generate(folder, count, options) for count in (256, options.frames)])
        first = [seconds_to_first_segment(folder, options) for folder in _folders(Path(name) / "first", 3)]
    rates, resident = (
        [statistics.median(run[n][key] for run in runs) for n in range(2)]
        for key in ("frames_per_second", "peak_rss_bytes")
    )
    within = [(_around(long, 5), _around(long, 200)) for _, long in runs]
    figures = {
        "frames_per_second": say("frames/s", dict(zip(("256", str(options.frames)), rates, strict=True))),
        "segment_200_over_5": say(
            "segment 200 over 5",
            {
                "turn_by_turn": turn_by_turn(options),
                "within_a_run": [{"seconds": pair, "ratio": pair[1] / pair[0]} for pair in within],
            },
        ),
        "resident_memory": say(
            "resident memory",
            {
                "bytes": resident,
                "ratio": resident[1] / resident[0],
                "runs": [[report["peak_rss_bytes"] for report in run] for run in runs],
            },
        ),
        "seconds_to_first_segment": say("first segment", {"runs": first})["runs"],
        "seconds_of_help": say("help", {"median": seconds_of_help()})["median"],
        "threads": options.threads,
    }
    write(options.out, figures)


def _around(report: dict, segment: int) -> float:
    """Median seconds of the five segments around one, counted from 1."""
    return statistics.median(report["seconds_per_segment"][segment - 3 : segment + 2])


def _folders(within: Path, count: int) -> list[Path]:
    folders = [within / str(number) for number in range(count)]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


if __name__ == "__main__":
    main()
