"""Runs a server until it is told to stop; then work ends, those who wait are told so, and it comes to rest."""

import socket
import sys
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

from malt.serving.patient_protocol import PatientProtocol

MOST_CONNECTIONS = 512
MOST_EVENT_BYTES = 64 * 1024
GRACE_SECONDS = 10


class Host(Protocol):
    """What is served: it says so, and comes to rest."""

    def greeting(self, address: str) -> str:
        """What is said, in lines, once it can be reached at an address."""
        ...

    async def rest(self, seconds: float) -> None:
        """End all work; then wait, at most so long, until those who talk to us have been told so."""
        ...


class Server(uvicorn.Server):
    """Ends the streams before it waits for their connections, and says where it can be reached."""

    def __init__(self, config: uvicorn.Config, host: Host) -> None:
        super().__init__(config)
        self._host = host

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections and say so."""
        await super().startup(sockets=sockets)
        for listener in sockets or []:
            name, port = listener.getsockname()[:2]
            address = f"http://{f'[{name}]' if ':' in name else name}:{port}"
            for line in self._host.greeting(address).splitlines():
                print(f"malt: {line}", file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the worker come to rest, so that every stream ends and says so, and then the connections."""
        await self._host.rest(GRACE_SECONDS)
        await super().shutdown(sockets=sockets)


def serve(app: FastAPI, host: Host, listener: socket.socket) -> None:
    """Serve on an open socket until SIGINT or SIGTERM."""
    settings: dict[str, Any] = {
        "http": PatientProtocol,
        "log_level": "warning",
        "limit_concurrency": MOST_CONNECTIONS,
        "ws_max_size": MOST_EVENT_BYTES,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }
    Server(uvicorn.Config(app, **settings), host).run(sockets=[listener])
