"""Cost: what one more second of video takes, by how long the video already is."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from malt.evaluation.evaluated_model import EvaluatedModel, Request
from malt.evaluation.metrics.base import Axes, FigureSpec
from malt.evaluation.reference import captions_of
from malt.evaluation.result import Curve, MetricResult
from malt.sessions.run_report import peak_rss_bytes
from malt.worlds.base import World

STATM = Path("/proc/self/statm")
Clock = Callable[[], float]


@dataclass(frozen=True)
class CostPoint:
    """After a segment: frames made so far, seconds since the start, bytes the process holds, bytes of the memory."""

    frames: int
    seconds: float
    resident: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds and bytes for one more second of one video of each of these lengths.

    A rollout that goes on is timed over the segments that bring the next second; one that cannot makes the whole video
    anew, up to the length at which that takes more than `limit_s` seconds.
    """

    world: World
    lengths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    limit_s: float = 600.0
    clock: Clock = time.perf_counter
    name: str = "cost"
    says: str = (
        "What one more second costs when the video is already so long. Flat is what a memory of fixed size promises."
    )

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        longest = self.lengths[-1]
        return {
            f"seconds for one more second at {longest} frames": FigureSpec(
                words=f"seconds for one more second at {longest} frames", better="lower"
            ),
            f"seconds a frame at {longest} frames": FigureSpec(words=f"seconds a frame at {longest}", better="lower"),
            "seconds for one more second, longest over shortest": FigureSpec(
                words=f"cost at {longest} over {self.lengths[0]} frames", better="lower"
            ),
            "memory, MiB": FigureSpec(words="memory it keeps, MiB"),
            "resident growth, MiB": FigureSpec(words="growth of the process, MiB", better="lower"),
        }

    @property
    def axes(self) -> dict[str, Axes]:
        """The charts' axes."""
        return {
            "seconds for one more second": Axes(
                x="frames already there", y="seconds for one more second of video", log_x=True
            ),
            "seconds a frame": Axes(x="frames already there", y="seconds a frame", log_x=True),
            "resident, MiB": Axes(x="frames already there", y="MiB held by the process", log_x=True),
        }

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        return {"world": self.world.name, "lengths": list(self.lengths), "limit_s": self.limit_s}

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Make one video and note time and memory on the way, or one of each length."""
        second = max(1, round(model.frame_rate))
        self._watch(model, seed, second)  # what is only done once is done now
        found = self._going_on(model, seed, second) if model.extends else self._anew(model, seed, second)
        x = [float(length) for length in found]
        charts = {
            "seconds for one more second": [each[0] for each in found.values()],
            "seconds a frame": [each[0] / (second if model.extends else n + second) for n, each in found.items()],
            "resident, MiB": [each[1] / 2**20 for each in found.values()],
        }
        curves = [
            Curve(chart=chart, line="", x=x, samples=[[value] for value in values], over="seeds")
            for chart, values in charts.items()
        ]
        return MetricResult(whole=self._whole(found, charts), curves=curves, notes=self._notes(model, found))

    def _whole(self, found: dict[int, tuple[float, int, int]], charts: dict[str, list[float]]) -> dict[str, float]:
        whole = {
            f"{chart} at {n} frames": value
            for chart in ("seconds for one more second", "seconds a frame")
            for n, value in zip(found, charts[chart], strict=True)
        }
        seconds, resident = charts["seconds for one more second"], charts["resident, MiB"]
        return whole | {
            "seconds for one more second, longest over shortest": seconds[-1] / seconds[0],
            "resident growth, MiB": resident[-1] - resident[0],
            "memory, MiB": max(each[2] for each in found.values()) / 2**20,
        }

    def _going_on(self, model: EvaluatedModel, seed: int, second: int) -> dict[int, tuple[float, int, int]]:
        """Of every length: seconds for the next second of one and the same video, bytes resident, bytes of memory."""
        moments = self._watch(model, seed, self.lengths[-1] + 4 * second)
        found = {}
        for length in self.lengths:
            here = next(n for n, moment in enumerate(moments) if moment.frames >= length)
            there = next(
                (n for n, m in enumerate(moments) if m.frames >= moments[here].frames + 2 * second), len(moments) - 1
            )
            frames = max(1, moments[there].frames - moments[here].frames)
            seconds = (moments[there].seconds - moments[here].seconds) * second / frames
            found[length] = (seconds, moments[here].resident, moments[here].memory)
        return found

    def _anew(self, model: EvaluatedModel, seed: int, second: int) -> dict[int, tuple[float, int, int]]:
        """The same where a longer video is another video: all of it counts."""
        found = {}
        for length in self.lengths:
            last = self._watch(model, seed, length + second)[-1]
            found[length] = (last.seconds, peak_rss_bytes(), last.memory)
            if last.seconds > self.limit_s:
                break
        return found

    def _watch(self, model: EvaluatedModel, seed: int, num_frames: int) -> list[CostPoint]:
        start, moments, frames, began = model.begin(self._request(seed)), [], 0, self.clock()
        for segment in start.stream(num_frames):
            frames += segment.frames.shape[1]
            moments.append(CostPoint(frames, self.clock() - began, resident_bytes(), segment.memory_bytes))
        return moments

    def _request(self, seed: int) -> Request:
        return Request(captions=captions_of(self.world, 1, seed), seed=seed)

    def _notes(self, model: EvaluatedModel, found: dict[int, tuple[float, int, int]]) -> list[str]:
        if model.extends:
            return ["one video at a time; the time of its next two seconds, halved"]
        notes = ["a longer video is made anew, whole: its seconds count in full, its bytes are the process's peak"]
        if len(found) < len(self.lengths):
            notes.append(f"ended at {max(found)} frames, which took more than {self.limit_s:g} seconds")
        return notes


def resident_bytes() -> int:
    """What the process holds now; its peak where the system does not say."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    return peak_rss_bytes()
