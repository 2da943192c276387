"""The server's figures, as Prometheus reads them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from malt.rollouts.base import Segment
from malt.serving.engine.job import Job
from malt.serving.engine.segment_work import Executor
from malt.serving.engine.worker import Worker

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metrics:
    """Counts what one server does; every server has its own registry."""

    def __init__(self, worker: Worker) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._frames = Counter("malt_frames", "Frames made.", registry=self._registry)
        self._segments = Counter("malt_segments", "Segments made.", registry=self._registry)
        self._jobs = Counter(
            "malt_jobs", "Videos and streams that are over.", ("kind", "state"), registry=self._registry
        )
        self._refused = Counter(
            "malt_refused", "Requests refused, by HTTP status.", ("status",), registry=self._registry
        )
        self._memory = Gauge("malt_memory_bytes", "Memory of the latest segment's session.", registry=self._registry)
        self._first = Histogram(
            "malt_first_piece_seconds",
            "From the request to the first piece of a stream.",
            buckets=SECONDS,
            registry=self._registry,
        )
        running = Gauge("malt_jobs_running", "Videos and streams that take turns.", registry=self._registry)
        waiting = Gauge("malt_jobs_waiting", "Videos and streams that wait.", registry=self._registry)
        running.set_function(lambda: worker.num_running)
        waiting.set_function(lambda: worker.num_waiting)
        self.gauge(
            "malt_silent_seconds",
            "For how long nothing has been finished, though there is work.",
            lambda: worker.silent_seconds,
        )
        self._restarts = Counter(
            "malt_restarts", "Videos that were gone on with after a start.", registry=self._registry
        )

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Have a figure read whenever somebody looks."""
        Gauge(name, about, registry=self._registry).set_function(read)

    def watch(self, executor: Executor) -> None:
        """Show how what computes elsewhere fares."""
        self.gauge("malt_workers", "Worker processes that can be asked.", lambda: executor.num_alive)
        self.gauge("malt_worker_restarts", "Worker processes that were started anew.", lambda: executor.num_restarts)

    def restarted(self) -> None:
        """Count a video that was unfinished when the server began."""
        self._restarts.inc()

    def segment(self, segment: Segment) -> None:
        """Count a segment."""
        self._segments.inc()
        self._frames.inc(segment.frames.shape[1])
        self._memory.set(segment.memory_bytes)

    def over(self, kind: str, job: Job) -> None:
        """Count a job of a kind (video or stream) that is over."""
        self._jobs.labels(kind, job.state.value).inc()

    def refused(self, status: int) -> None:
        """Count a request that was refused."""
        self._refused.labels(str(status)).inc()

    def first_piece(self, seconds: float) -> None:
        """Note how long a reader waited for the first picture."""
        self._first.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
