"""A server on a tiny pipeline: within the test's process, or as a program of its own (python tiny_server.py FOLDER)."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiny_pipeline
from malt.serving.app import Service, create_app
from malt.serving.limits import Limits

LIMITS = {
    "frames": 256,
    "work": 1e9,
    "pixels": 512 * 512,
    "running": 2,
    "waiting": 3,
    "upload_bytes": 2**20,
    "upload_pixels": 512 * 512,
    "upload_decoded": 2**22,
}


def service(data: Path, limits: dict[str, Any] | None = None, **settings: Any) -> Service:
    pipe = settings.pop("pipe", None) or tiny_pipeline.pipeline()
    return Service(
        pipe=pipe, name="tiny", data=data, limits=Limits(**LIMITS | (limits or {})), **{"scale": 1} | settings
    )


@contextmanager
def served(of: Service) -> Iterator[str]:
    """The server on a port of its own; gives its address."""
    import uvicorn

    from malt.serving.patient_protocol import PatientProtocol
    from malt.serving.uvicorn_runner import Server

    settings: dict[str, Any] = {"port": 0, "log_level": "warning", "timeout_graceful_shutdown": 5}
    server = Server(uvicorn.Config(create_app(of), http=PatientProtocol, **settings), of)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


if __name__ == "__main__":
    import socket

    from malt.serving.uvicorn_runner import serve

    with socket.create_server(("127.0.0.1", 0)) as listener:
        of = service(Path(sys.argv[1]), {"stall_seconds": 3.0})
        serve(create_app(of), of, listener)
