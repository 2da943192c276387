"""How fast the default model writes video, and whether that or its memory depends on the video's length.

    python benchmarks/speed.py [--checkpoint DIR] [--threads 2] [--out docs/results/speed.json]

Whole processes are timed and measured from outside, as a user would see them; lengths are compared within one run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import say, write

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
    parser.add_argument("--frames", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("docs/results/speed.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short, long = (generate(folder, count, options) for count in (256, options.frames))
        first = [seconds_to_first_segment(folder / str(n), options) for n in _folders(folder, 3)]
    segments = long["seconds_per_segment"]
    early, late = statistics.median(segments[3:8]), statistics.median(segments[198:203])
    figures = {
        "frames_per_second": say(
            "frames/s", {"256": short["frames_per_second"], str(options.frames): long["frames_per_second"]}
        ),
        "segment_200_over_5": say("segment 200 over 5", {"seconds": [early, late], "ratio": late / early}),
        "resident_memory": say(
            "resident memory",
            {
                "bytes": [short["peak_rss_bytes"], long["peak_rss_bytes"]],
                "ratio": long["peak_rss_bytes"] / short["peak_rss_bytes"],
            },
        ),
        "seconds_to_first_segment": say("first segment", {"runs": first})["runs"],
        "seconds_of_help": say("help", {"median": seconds_of_help()})["median"],
        "threads": options.threads,
    }
    write(options.out, figures)


def _folders(folder: Path, count: int) -> list[int]:
    for number in range(count):
        (folder / str(number)).mkdir()
    return list(range(count))


if __name__ == "__main__":
    main()
