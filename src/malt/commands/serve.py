"""`malt serve`: videos over HTTP, as jobs and as streams that play while they are made."""

import os
import socket
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from malt.commands.checks import check_count
from malt.commands.interruption import interruptible
from malt.commands.model import bring_up, find_model
from malt.errors import MaltError, UsageError

TOKEN = "MALT_TOKEN"
LIBRARIES = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")


def default_data() -> Path:
    """Where videos are kept if nothing is said: in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malt" / "videos"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Serve videos over HTTP: jobs under /v1/videos, streams, and a WebSocket that can be steered. The variable
    MALT_TOKEN holds the token that visitors have to show."""

    host: str = "127.0.0.1"
    """The address to listen at; one that others can reach needs --public."""
    port: int = 8000
    """The port to listen at; 0 takes a free one."""
    public: bool = False
    """Let other machines in; needs the token in MALT_TOKEN."""
    data: Path = field(default_factory=default_data)
    """Folder in which videos are kept; what is unfinished there goes on."""
    model: str | None = None
    """A model that comes with the package, by its name, or a folder with model_index.json."""
    checkpoint: Path | None = None
    """Folder of the model (with model_index.json); the default model comes with the package."""
    scale: int = 4
    """Every pixel is written this many times each way, as small videos are hard to see; 1 keeps the model's size."""
    most_frames: int = 4096
    """How long a video may be, in frames."""
    most_running: int = 8
    """How many videos and streams take turns."""
    most_waiting: int = 32
    """How many more may wait; any beyond are refused."""
    most_stored: int = 1000
    """How many videos are kept."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """How many processor threads to use."""

    def run(self) -> None:
        """Check, open the socket, load the model, and serve until Ctrl-C or SIGTERM.

        Raises:
            UsageError: the options do not fit, or the libraries of a server are not installed.
            MaltError: the port is taken, or the folder cannot be made.
        """
        token = os.environ.get(TOKEN) or None
        self._check(token)
        try:
            with interruptible(), self._listen() as listener:
                self._serve(listener, token)
        except KeyboardInterrupt:
            return

    def _check(self, token: str | None) -> None:
        for option in ("scale", "most_frames", "most_running", "most_waiting", "most_stored", "threads"):
            check_count(f"--{option.replace('_', '-')}", getattr(self, option))
        if not 0 <= self.port < 2**16:
            raise UsageError(f"asked for the port {self.port}; give one from 0 to 65535")
        missing = [name for name in LIBRARIES if find_spec(name) is None]
        if missing:
            raise UsageError(f"a server needs {', '.join(missing)}: pip install 'malt-diffusion[serve]'")
        from malt.web.guard import is_loopback_address

        if not is_loopback_address(self.host) and not self.public:
            raise UsageError(f"others can reach {self.host}; pass --public if that is meant, or leave --host out")
        if self.public and token is None:
            raise UsageError(f"with --public everybody could come in; put a long random token into {TOKEN}")

    def _listen(self) -> socket.socket:
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family, backlog=128)
        except OSError as error:
            reason = error.strerror or error
            raise MaltError(f"cannot listen at {self.host}:{self.port} ({reason}); choose another --port") from error

    def _serve(self, listener: socket.socket, token: str | None) -> None:
        from malt.web.limits import Limits
        from malt.web.run import serve
        from malt.web.server import Service

        checkpoint = find_model(self.model, self.checkpoint)
        limits = Limits(
            frames=self.most_frames, running=self.most_running, waiting=self.most_waiting, stored=self.most_stored
        )
        service = Service(
            pipe=bring_up(checkpoint, device=self.device, threads=self.threads),
            name="default" if checkpoint is None else checkpoint.resolve().name,
            data=self.data,
            limits=limits,
            token=token,
            loopback_only=not self.public,
            scale=self.scale,
            notes={"checkpoint": None if checkpoint is None else str(checkpoint.resolve())},
        )
        serve(service, listener)
