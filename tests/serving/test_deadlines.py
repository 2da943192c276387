"""Laws of those who stall: in headers, in bodies, in reading; they hold nobody up and are let go."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

import tiny_pipeline
from malt.serving import patient_protocol
from malt.serving.app import Service
from tiny_server import served, service, wait_until

PIPE = tiny_pipeline.pipeline(settings={"num_inference_steps": 1})
FORM = b"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
BEGUN = {
    "nothing": b"",
    "headers": b"GET /v1/vid",
    "body": FORM + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n",
    "reading": b"GET /v1/stream?prompt=a%20red%20circle HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(patient_protocol, "HEADER_SECONDS", 3.0)
    return service(tmp_path_factory.mktemp("data"), {"stall_seconds": 3.0, "running": 4, "waiting": 40}, pipe=PIPE)


@pytest.fixture
def address(shared: Service) -> Iterator[str]:
    with served(shared) as address:
        yield address


def begun(address: str, kind: str) -> socket.socket:
    place = urlsplit(address)
    stalled = socket.create_connection((place.hostname, place.port), timeout=60)
    stalled.sendall(BEGUN[kind])
    return stalled


@pytest.mark.parametrize("kind", ["nothing", "headers", "body"])
def test_what_does_not_arrive_is_cut(address: str, kind: str) -> None:
    with begun(address, kind) as stalled:
        answer = stalled.recv(4096)
        assert b"408" in answer if kind == "body" else answer == b""


def test_headers_that_come_drop_by_drop_are_cut(address: str) -> None:
    with begun(address, "headers") as stalled, pytest.raises(OSError):
        for _ in range(100):
            stalled.sendall(b"x")
            time.sleep(0.1)


def test_a_connection_that_is_used_again_may_take_its_time_between_requests(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        for _ in range(2):
            assert client.get("/healthz").status_code == 200
            time.sleep(3.5)


def test_sixty_who_stall_hold_nobody_up(address: str, shared: Service) -> None:
    with ExitStack() as stack:
        for kind in ("headers", "body", "reading") * 20:
            stack.enter_context(begun(address, kind))
        wait_until(lambda: shared.worker.num_running + shared.worker.num_waiting == 20)
        before = time.thread_time()
        parts = {"prompt": (None, tiny_pipeline.PROMPT), "num_frames": (None, "8")}
        answer = httpx.post(f"{address}/v1/videos", files=parts, timeout=60)
        assert answer.status_code == 200
        assert time.thread_time() - before < 2
    wait_until(lambda: shared.worker.num_running + shared.worker.num_waiting == 0)
