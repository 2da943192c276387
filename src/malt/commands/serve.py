"""`malt serve`: videos over HTTP, as jobs and as streams that play while they are made."""

import math
import os
import socket
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from malt.commands.checks import check_above_zero, check_count
from malt.commands.model_options import BaseOptions, find_place, load_model
from malt.commands.network import check_libraries, check_openness, check_origins, listen, log_access, read_token
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.threads import num_cores

LIBRARIES = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")


def default_data() -> Path:
    """Where videos are kept if nothing is said: in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malt" / "videos"


@dataclass(frozen=True, kw_only=True)
class ServeCommand(BaseOptions):
    """Generate videos over HTTP: jobs under /v1/videos, streams, and a WebSocket that can be steered. Clients have to
    show the token in the environment variable MALT_TOKEN, if there is one."""

    host: str = "127.0.0.1"
    """Address to listen at; one that other machines can reach needs --public."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    public: bool = False
    """Let other machines in; needs a token in MALT_TOKEN."""
    data: Path = field(default_factory=default_data)
    """Folder to keep videos in; unfinished ones in it go on."""
    model: str | None = None
    """A model that comes with the package, by its name (default, fast, drive), or the folder of one."""
    checkpoint: Path | None = None
    """Folder of the model, with its model_index.json; the default model by default."""
    scale: int | None = None
    """Write each pixel this many times in both directions; by default what makes a small video visible."""
    alias: str | None = None
    """Other names by which clients may ask for the model, such as sora-2,sora-2-pro; * for any."""
    allow_origin: str | None = None
    """Pages of other sites that may use the server, such as http://localhost:3000; several with commas between them."""
    access_log: bool = True
    """Print a line for each request."""
    max_frames: int = 4096
    """How many frames a video of the model's own size and steps may have; dearer ones may have fewer."""
    max_pixels: int | None = None
    """How many pixels a frame may have; by default, and at least, as many as the model's own."""
    max_steps: int = 100
    """How many denoising steps a segment may take."""
    max_running: int = 8
    """How many videos and streams are generated in turns."""
    batch: int = 1
    """How many videos of one size go through one forward pass: more are faster together, and above 1 a video is the same to
    the bit no longer, but up to rounding, when it is made again or alone."""
    max_waiting: int = 32
    """How many more may wait; requests beyond are refused."""
    max_stored: int = 1000
    """How many videos are kept."""
    max_worlds: int = 64
    """How many worlds there may be to act in, forks included."""
    max_disk: float = 64.0
    """How many GB of the disk they may take; requests beyond are refused."""
    keep_days: float | None = None
    """Delete finished videos after so many days; by default they stay."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    workers: str | None = None
    """Devices with commas between them, such as cuda:0,cuda:1 or cpu,cpu: a process for each, which share the work."""
    threads: int | None = None
    """How many CPU threads to use, each worker so many."""

    def run(self) -> None:
        """Check, open the socket, load the model, and serve until Ctrl-C or SIGTERM.

        Raises:
            UsageError: the options do not fit, or the libraries of a server are not installed.
            MaltError: the port is taken, or the folder cannot be made.
        """
        token = read_token()
        self._check(token)
        try:
            with interruptible(), listen(self.host, self.port) as listener:
                self._serve(listener, token)
        except KeyboardInterrupt:
            return

    def _check(self, token: str | None) -> None:
        for option in (
            "scale",
            "max_frames",
            "max_pixels",
            "max_steps",
            "max_running",
            "batch",
            "max_waiting",
            "max_stored",
            "max_worlds",
            "threads",
        ):
            check_count(f"--{option.replace('_', '-')}", getattr(self, option))
        check_above_zero("--max-disk", self.max_disk)
        check_above_zero("--keep-days", self.keep_days)
        check_origins(_parts(self.allow_origin), token=token)
        check_libraries(LIBRARIES, "a server", extra="serve")
        self._check_workers()
        check_openness(self.host, self.port, public=self.public, token=token)

    def _check_workers(self) -> None:
        devices = _parts(self.workers)
        if self.workers is not None and not devices:
            raise UsageError("--workers names no device; give it as in --workers cuda:0,cuda:1")
        if devices and self.device != "auto":
            raise UsageError("both --workers and --device were given; give one of them")
        if len(kinds := sorted({device.partition(":")[0] for device in devices})) > 1:
            raise UsageError(
                f"--workers mixes {' and '.join(kinds)}, on which a video that moves would not be the same; give one kind"
            )

    @property
    def _threads(self) -> int | None:
        """CPU threads of this process or of each worker; workers on the CPU share its cores."""
        devices = _parts(self.workers)
        return self.threads or (max(1, num_cores() // len(devices)) if devices and devices[0] == "cpu" else None)

    def _precision(self, is_based: bool) -> str:
        """What a base computes in is decided by the workers' devices, not by this process's."""
        devices = _parts(self.workers)
        on_gpus = bool(devices) and not devices[0].startswith("cpu")
        return "bfloat16" if is_based and on_gpus and self.precision == "auto" else self.precision

    def _serve(self, listener: socket.socket, token: str | None) -> None:
        from malt.media.frame_scale import choose_scale
        from malt.serving.app import Service, create_app
        from malt.serving.engine.fresh_thread import run_in_fresh_thread
        from malt.serving.engine.worker_processes import WorkerProcesses
        from malt.serving.limits import Limits
        from malt.serving.uvicorn_runner import serve

        place = find_place(self.model, self.checkpoint, self)
        limits = Limits(
            frames=self.max_frames,
            pixels=self.max_pixels or 1,
            steps=self.max_steps,
            running=self.max_running,
            together=self.batch,
            waiting=self.max_waiting,
            stored=self.max_stored,
            worlds=self.max_worlds,
            disk_bytes=round(self.max_disk * 1e9),
            keep_seconds=math.inf if self.keep_days is None else self.keep_days * 24 * 3600,
        )
        if self.access_log:
            log_access()
        devices = _parts(self.workers)
        load = partial(
            load_model, place, threads=self._threads, offload=self.offload, precision=self._precision(place.is_based)
        )
        with ExitStack() as stack:
            executor = (
                stack.enter_context(closing(WorkerProcesses([partial(load, device=device) for device in devices])))
                if devices
                else None
            )
            pipe = run_in_fresh_thread(
                partial(load, device="cpu", offload="none") if devices else partial(load, device=self.device)
            )
            service = Service(
                pipe=pipe,
                name=place.name,
                data=self.data,
                limits=limits,
                token=token,
                loopback_only=not self.public,
                scale=choose_scale(pipe.frame_size, self.scale),
                notes={**place.notes(), "precision": self.precision, "offload": self.offload},
                aliases=_parts(self.alias),
                origins=_parts(self.allow_origin),
                executor=executor,
            )
            serve(create_app(service), service, listener)


def _parts(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())
