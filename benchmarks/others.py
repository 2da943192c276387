"""What a new frame costs here and in others' long-video pipelines, by how long the video is.

    python benchmarks/others.py [--quick] [--frames 64 256 1024] [--steps 8 | own] [--out docs/results/others.json]

Equal transformer parameters (within 5 %), tokens a frame and denoising steps, random weights, one machine, one thread. With
`--steps own` each makes as few steps as its authors publish it with. Each
case runs in a child of this one process, so that its peak memory is its own, and is stopped after `--limit` seconds. See
systems.py for what is compared and what is left out. Linux with glibc only: the peak is read from /proc.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import diffusers
import systems
import torch
from results import say, write

SYSTEMS: dict[str, Callable[[int, int], systems.System]] = {
    "malt": systems.malt,
    "malt, wide windows": partial(systems.malt, segment_frames=20, context_frames=5),
    "malt, slots": partial(systems.malt, memory="slots", layers=4),
    "malt, slots, wide windows": partial(systems.malt, segment_frames=16, memory="slots", layers=4),
    "malt, slots, wide windows and modulation": partial(
        systems.malt, segment_frames=16, memory="slots", layers=3, modulation_dim=1024
    ),
    "SkyReels-V2": systems.skyreels,
    "SkyReels-V2, narrow windows": partial(systems.skyreels, base=5, overlap=1),
    "Framepack": systems.framepack,
    "Latte": systems.latte,
}
# The fewest that authors publish. malt: the default model. SkyReels-V2: its README recommends 50, and lists a checkpoint with
# distilled steps as to come. Framepack: its demo has 25 and advises against others; with TeaCache, which it switches on, a frame
# takes 1.5 s where it took 2.5, as if 15 were computed. Latte: the default of its pipeline.
OWN_STEPS = {"malt": 4, "SkyReels-V2": 50, "Framepack": 15, "Latte": 50}
FEW = 8  # frames of the rehearsal
PARAMETERS_WITHIN = 0.05


def steps_of(name: str, options: argparse.Namespace) -> int:
    """How many denoising steps a system makes."""
    return OWN_STEPS[name.split(",")[0]] if options.steps == "own" else int(options.steps)


def measure(name: str, frames: int, options: argparse.Namespace, report: Connection) -> None:
    """In a child: rehearse with a few frames, then make the video, and report what it took."""
    torch.set_num_threads(options.threads)
    steps = steps_of(name, options)
    try:
        SYSTEMS[name](steps, FEW).make(FEW)
        system = SYSTEMS[name](steps, frames)
        seconds, cpu_seconds, made, peak = [], [], frames, 0
        for _ in range(options.repeats if frames == min(options.frames) else 1):
            resting = _begin_peak()
            began, cpu_began = time.perf_counter(), time.process_time()
            made = system.make(frames)
            seconds.append((time.perf_counter() - began) / made)
            cpu_seconds.append((time.process_time() - cpu_began) / made)
            peak = max(peak, _memory("VmHWM") - resting)
    except (RuntimeError, ValueError, MemoryError) as error:
        report.send({"error": f"{type(error).__name__}: {error}"})
        return
    report.send(
        {
            "seconds_per_frame": statistics.median(seconds),
            "cpu_seconds_per_frame": statistics.median(cpu_seconds),
            "runs": len(seconds),
            "peak_bytes": peak,
            "peak_bytes_per_frame": peak / made,
            "frames_made": made,
        }
    )


def run(name: str, frames: int, options: argparse.Namespace) -> dict:
    """One case in a child of its own: its figures, or why there are none."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=measure, args=(name, frames, options, sender))
    child.start()
    sender.close()
    try:
        figures = receiver.recv() if receiver.poll(options.limit) else {"over": options.limit}
    except EOFError:
        child.join()
        figures = {"error": f"the process ended with exit code {child.exitcode}"}
    child.terminate()
    child.join()
    return figures


def describe(name: str, steps: int, ours: int | None) -> dict:
    """A system's settings; its transformer must be as large as ours."""
    system = SYSTEMS[name](steps, FEW)
    parameters = sum(parameter.numel() for parameter in system.transformer.parameters())
    if ours is not None and abs(parameters / ours - 1) > PARAMETERS_WITHIN:
        raise SystemExit(f"{name} has {parameters} parameters and malt {ours}; make them equal within 5 %")
    return {"parameters": parameters, "steps": steps, **system.settings, "transformer": dict(system.transformer.config)}


def compare(cases: dict[str, dict[str, dict]], frames: list[int]) -> dict:
    """Every rival's cost of a frame over ours at each length, and every system's at the last length over the first."""

    def ratio(one: dict, other: dict, key: str) -> float | None:
        return one[key] / other[key] if key in one and other.get(key) else None

    keys = ("seconds_per_frame", "cpu_seconds_per_frame", "peak_bytes_per_frame", "peak_bytes")
    return {
        name: {
            key: {
                "over_malt": {length: ratio(by_length[length], cases["malt"][length], key) for length in by_length},
                "last_over_first": ratio(by_length[str(frames[-1])], by_length[str(frames[0])], key),
            }
            for key in keys
        }
        for name, by_length in cases.items()
    }


def table(cases: dict[str, dict[str, dict]]) -> str:
    """The figures for a person: milliseconds a frame, kilobytes a frame and megabytes at the peak."""
    lines = [f"{'':30}{'frames':>8}{'ms/frame':>10}{'CPU ms':>9}{'KB/frame':>10}{'peak MB':>9}"]
    for name, by_length in cases.items():
        for length, case in by_length.items():
            if "seconds_per_frame" in case:
                times = f"{1e3 * case['seconds_per_frame']:10.2f}{1e3 * case['cpu_seconds_per_frame']:9.2f}"
                sizes = f"{case['peak_bytes_per_frame'] / 1e3:10.1f}{case['peak_bytes'] / 1e6:9.1f}"
                lines.append(f"{name:30}{length:>8}{times}{sizes}")
            else:
                lines.append(f"{name:30}{length:>8}  {case}")
    return "\n".join(lines)


def _begin_peak() -> int:
    """Give back what is free, forget the peak so far, and hand back the resident bytes now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 and 64 frames, written nowhere")
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--steps", default="8", help='denoising steps of all, or "own"')
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of the shortest length, of which the median counts"
    )
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a case is stopped")
    parser.add_argument("--out", type=Path, default=Path("docs/results/others.json"))
    options = parser.parse_args()
    if options.quick:
        options.frames, options.repeats = [16, 64], 1
    torch.set_num_threads(1)  # a process that has started a thread pool cannot be forked
    diffusers.logging.set_verbosity_error()
    began = time.perf_counter()
    settings: dict[str, dict] = {}
    cases: dict[str, dict[str, dict]] = {}
    for name in SYSTEMS:
        settings[name] = describe(name, steps_of(name, options), settings["malt"]["parameters"] if settings else None)
        cases[name] = {
            str(frames): say(f"{name}, {frames} frames", run(name, frames, options)) for frames in options.frames
        }
    print(table(cases))
    if options.quick:
        return
    torch.set_num_threads(options.threads)
    figures = {
        "what": systems.__doc__,
        "steps": options.steps,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "limit_seconds": options.limit,
        "tokens_a_frame": (systems.SIDE // systems.PATCH) ** 2,
        "bytes_of_a_frame": systems.CHANNELS * systems.SIDE**2 * 4,
        "caption_tokens": systems.CAPTION_TOKENS,
        "guidance": "none",
        "precision": "float32",
        "systems": settings,
        "cases": cases,
        "compared": compare(cases, options.frames),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write(options.out, figures)


if __name__ == "__main__":
    main()
