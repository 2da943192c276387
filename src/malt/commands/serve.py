"""`malt serve`: videos over HTTP, as jobs and as streams that play while they are made."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from malt.commands.checks import check_count
from malt.commands.model_options import BaseOptions, find_place, load_model
from malt.commands.network import TOKEN, check_libraries, check_openness, listen
from malt.commands.signals import interruptible

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
    """A model that comes with the package, by its name (default, drive), or the folder of one."""
    checkpoint: Path | None = None
    """Folder of the model, with its model_index.json; the default model by default."""
    scale: int | None = None
    """Write each pixel this many times in both directions; by default what makes a small video visible."""
    max_frames: int = 4096
    """How many frames a video may have."""
    max_running: int = 8
    """How many videos and streams are generated in turns."""
    max_waiting: int = 32
    """How many more may wait; requests beyond are refused."""
    max_stored: int = 1000
    """How many videos are kept."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = None
    """How many CPU threads to use."""

    def run(self) -> None:
        """Check, open the socket, load the model, and serve until Ctrl-C or SIGTERM.

        Raises:
            UsageError: the options do not fit, or the libraries of a server are not installed.
            MaltError: the port is taken, or the folder cannot be made.
        """
        token = os.environ.get(TOKEN) or None
        self._check(token)
        try:
            with interruptible(), listen(self.host, self.port) as listener:
                self._serve(listener, token)
        except KeyboardInterrupt:
            return

    def _check(self, token: str | None) -> None:
        for option in ("scale", "max_frames", "max_running", "max_waiting", "max_stored", "threads"):
            check_count(f"--{option.replace('_', '-')}", getattr(self, option))
        check_libraries(LIBRARIES, "a server", extra="serve")
        check_openness(self.host, self.port, public=self.public, token=token)

    def _serve(self, listener: socket.socket, token: str | None) -> None:
        from malt.media.frame_scale import choose_scale
        from malt.serving.app import Service, create_app
        from malt.serving.engine.worker import run_in_fresh_thread
        from malt.serving.limits import Limits
        from malt.serving.uvicorn_runner import serve

        place = find_place(self.model, self.checkpoint, self)
        limits = Limits(
            frames=self.max_frames, running=self.max_running, waiting=self.max_waiting, stored=self.max_stored
        )
        pipe = run_in_fresh_thread(
            lambda: load_model(
                place, device=self.device, threads=self.threads, offload=self.offload, precision=self.precision
            )
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
        )
        serve(create_app(service), service, listener)
