"""What a run cost and how it can be repeated, written as JSON."""

import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import malt
from malt.errors import MaltError
from malt.media.files import write_whole


@dataclass(kw_only=True)
class RunReport:
    """Collects, segment by segment, the figures of one generation; the clock starts when the report is made."""

    prompt: str
    seed: int
    checkpoint: str
    clock: Callable[[], float] = time.perf_counter
    frames: int = 0
    memory_bytes: int = 0
    seconds_per_segment: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._last = self.clock()

    def add_segment(self, *, num_frames: int, memory_bytes: int) -> None:
        """Note that a segment was finished: `num_frames` of it were kept, the model's memory holds `memory_bytes`."""
        now = self.clock()
        self.seconds_per_segment.append(now - self._last)
        self._last = now
        self.frames += num_frames
        self.memory_bytes = memory_bytes

    @property
    def seconds(self) -> float:
        """How long the finished segments took, without loading the model."""
        return sum(self.seconds_per_segment)

    @property
    def frames_per_second(self) -> float:
        """How many frames a second were made, 0 before the first segment."""
        return self.frames / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, object]:
        """Give everything there is to report, ready for JSON."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "checkpoint": self.checkpoint,
            "frames": self.frames,
            "seconds": self.seconds,
            "frames_per_second": self.frames_per_second,
            "seconds_per_segment": self.seconds_per_segment,
            "peak_rss_bytes": peak_rss_bytes(),
            "memory_bytes": self.memory_bytes,
            "versions": versions(),
        }

    def write(self, path: Path) -> None:
        """Write the report to `path`, whole or not at all.

        Raises:
            MaltError: the file cannot be written, as on a full disk.
        """
        try:
            write_whole(path, json.dumps(self.as_dict(), indent=2) + "\n")
        except OSError as error:
            raise MaltError(f"could not write the report {path} ({error.strerror}); choose another place") from error


def versions() -> dict[str, str]:
    """Give the versions of what decides a run's outcome."""
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    return {"malt": malt.__version__, **libraries, "python": platform.python_version()}


def peak_rss_bytes() -> int:
    """Give the most resident memory this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """Give the resident memory of this process now, in bytes; where the system does not say, the most it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_rss_bytes()
    return pages * resource.getpagesize()
