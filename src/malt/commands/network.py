"""What the verbs that serve others share: who may reach them, the libraries they need, and the socket."""

import logging
import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from malt.errors import MaltError, UsageError

TOKEN = "MALT_TOKEN"  # the variable that holds what visitors have to show


def read_token() -> str | None:
    """What visitors have to show: without the newline that a file may have added; None where there is nothing."""
    return os.environ.get(TOKEN, "").strip() or None


def check_libraries(names: Sequence[str], what: str, *, extra: str) -> None:
    """Raise a `UsageError` that says how to install what is missing."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}: pip install 'malt-diffusion[{extra}]'")


def check_openness(host: str, port: int, *, public: bool, token: str | None) -> None:
    """Raise a `UsageError` for a port that is none, and for a server that is open to others without being meant to be."""
    if not 0 <= port < 2**16:
        raise UsageError(f"asked for the port {port}; give one from 0 to 65535")
    from malt.serving.auth import is_loopback_address

    if not is_loopback_address(host) and not public:
        raise UsageError(f"others can reach {host}; pass --public if that is meant, or leave --host out")
    if public and token is None:
        raise UsageError(f"with --public everybody could come in; put a long random token into {TOKEN}")


def check_origins(origins: Sequence[str], *, token: str | None) -> None:
    """Raise a `UsageError` for what is no origin of a page, and for letting in any page where there is no token."""
    for origin in origins:
        parts = urlsplit(origin)
        if origin not in ("*", "null") and (not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}"):
            raise UsageError(f"{origin} is not the origin of a page; give one such as http://localhost:3000")
    if "*" in origins and token is None:
        raise UsageError(f"any page could use this server; name those that may, or put a token into {TOKEN}")


def log_access() -> None:
    """Print a line for each request, without what it asked for."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("malt: %(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    access = logging.getLogger("malt.access")
    access.handlers, access.propagate = [handler], False
    access.setLevel(logging.INFO)


def listen(host: str, port: int) -> socket.socket:
    """An open socket.

    Raises:
        MaltError: it cannot be opened, as where the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise MaltError(f"cannot listen at {host}:{port} ({error.strerror or error}); choose another --port") from error
