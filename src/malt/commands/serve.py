"""`malt serve`: videos over HTTP, as jobs and as streams that play while they are made."""

import math
import os
import socket
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from malt.commands.checks import check_above_zero, check_count
from malt.commands.model_options import BaseOptions, find_place, load_model
from malt.commands.network import check_libraries, check_openness, check_origins, listen, log_access, read_token
from malt.commands.serve_executor import Load, check_computing, parts, ray_executor, worker_executor
from malt.commands.signals import interruptible

if TYPE_CHECKING:
    from malt.serving.engine.segment_work import Executor

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
    """A model that comes with the package, by its name (default, teacher, drive, maze), or the folder of one."""
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
    ray: str | None = None
    """Compute on the machines of a Ray cluster: auto for the one that this machine is part of, its address, or local for one
    that is started here."""
    replicas: str | None = None
    """How many replicas of the model the cluster holds, each on a GPU of its own if it has any: 4, or 1-8 by what there is to
    do. One by default."""
    threads: int | None = None
    """How many CPU threads to use, each worker and each replica so many."""

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
        check_origins(parts(self.allow_origin), token=token)
        check_libraries(LIBRARIES, "a server", extra="serve")
        check_computing(self.device, self.workers, self.ray, self.replicas)
        check_openness(self.host, self.port, public=self.public, token=token)

    def _precision(self, is_based: bool) -> str:
        """What a base computes in is decided by the workers' devices, not by this process's."""
        devices = parts(self.workers) or ((self.device,) if self.ray else ())
        on_gpus = bool(devices) and not devices[0].startswith("cpu")
        return "bfloat16" if is_based and on_gpus and self.precision == "auto" else self.precision

    def _serve(self, listener: socket.socket, token: str | None) -> None:
        from malt.media.frame_scale import choose_scale
        from malt.serving.app import Service, create_app
        from malt.serving.engine.fresh_thread import run_in_fresh_thread
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
        load = partial(load_model, place, offload=self.offload, precision=self._precision(place.is_based))
        with ExitStack() as stack:
            executor = stack.enter_context(computing) if (computing := self._computing(load)) else None
            here = {"device": self.device} if executor is None else {"device": "cpu", "offload": "none"}
            pipe = run_in_fresh_thread(partial(load, threads=self.threads, **here))
            service = Service(
                pipe=pipe,
                name=place.name,
                data=self.data,
                limits=limits,
                token=token,
                loopback_only=not self.public,
                scale=choose_scale(pipe.frame_size, self.scale),
                notes={
                    **place.notes(),
                    "precision": pipe.precision if self.precision == "auto" else self.precision,
                    "offload": self.offload,
                },
                aliases=parts(self.alias),
                origins=parts(self.allow_origin),
                executor=executor,
            )
            serve(create_app(service), service, listener)

    def _computing(self, load: Load) -> "AbstractContextManager[Executor] | None":
        """What computes elsewhere; None where this process does."""
        if self.ray:
            return ray_executor(load, self.ray, self.replicas, self.device, self.threads)
        devices = parts(self.workers)
        return worker_executor(load, devices, self.threads) if devices else None
