"""Runs the server until it is told to stop; then streams end, jobs are saved where they stand, and it comes to rest."""

import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from malt.web.server import Service, create_app

MOST_CONNECTIONS = 512
MOST_EVENT_BYTES = 64 * 1024
GRACE_SECONDS = 10


class Server(uvicorn.Server):
    """Ends the streams before it waits for their connections, and says where it can be reached."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the doors and say so."""
        await super().startup(sockets=sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            print(f"malt: serving {self._service.name} at {address} (API at {address}/docs)", file=sys.stderr)
            print(
                f"malt: videos are kept in {self._service.data}; Ctrl-C stops, and what is unfinished goes on at the next start",
                file=sys.stderr,
                flush=True,
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the worker come to rest, so that every stream ends and says so, and then the connections."""
        await self._service.rest(GRACE_SECONDS)
        await super().shutdown(sockets=sockets)


def serve(service: Service, listener: socket.socket) -> None:
    """Serve on an open socket until SIGINT or SIGTERM."""
    Server(_config(create_app(service)), service).run(sockets=[listener])


def _config(app: FastAPI) -> uvicorn.Config:
    settings: dict[str, Any] = {
        "log_level": "warning",
        "limit_concurrency": MOST_CONNECTIONS,
        "ws_max_size": MOST_EVENT_BYTES,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }
    return uvicorn.Config(app, **settings)
