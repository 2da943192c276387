"""How benchmarks keep their figures: JSON with the command, the commit, the machine and the versions that made them."""

import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch

import malt


def write(path: Path, figures: dict) -> None:
    """Write figures with everything needed to make them again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"command": " ".join(["python", *sys.argv]), "commit": _commit(), "machine": machine(), "figures": figures}
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {path}")


def say(name: str, figures: dict) -> dict:
    """Print figures as soon as they are there, and hand them on."""
    print(f"{name}: {json.dumps(figures)}", flush=True)
    return figures


def wilson(kept: int, num: int) -> dict:
    """A share with its 95 % interval, of what is there or not independently of the others."""
    if num == 0:
        return {"share": None, "low": None, "high": None, "kept": 0, "n": 0}
    z, share = 1.96, kept / num
    middle, half = share + z * z / (2 * num), z * math.sqrt(share * (1 - share) / num + (z / (2 * num)) ** 2)
    low, high = (value / (1 + z * z / num) for value in (middle - half, middle + half))
    return {"share": share, "low": max(0.0, low), "high": min(1.0, high), "kept": kept, "n": num}


@contextmanager
def timed(figures: dict, name: str) -> Iterator[None]:
    """Note how many seconds the body took."""
    began = time.perf_counter()
    yield
    figures[name] = round(time.perf_counter() - began, 3)


def machine() -> dict:
    """Processor, threads, versions, and the GPU where there is one."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}
    return gpu | {"processor": _processor(), "threads": torch.get_num_threads(), **versions, "malt": malt.__version__}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
