"""Laws of a server in a process of its own: its OpenAPI document holds, crowds and signals harm nothing."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import connect

import tiny_pipeline
from tiny_server import served, service, wait_until

TESTS = Path(__file__).resolve().parents[1]
PROMPT = tiny_pipeline.PROMPT
NUM_CLIENTS = 50
BYTES = "application/octet-stream"
CHECKS = (
    "not_a_server_error",
    "content_type_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
)


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server as a program, and its address."""
    program = [sys.executable, str(TESTS / "tiny_server.py"), str(folder)]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found is not None
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process, found[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process, address = start(tmp_path)
    yield process, address
    process.kill()
    process.wait(60)


def resident_bytes(process: int) -> int:
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1])  # type: ignore[index]


def misbehave(address: str, chance: random.Random) -> None:
    """Connect, stall for a while, and vanish without a word."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    kind = chance.choice(["stream", "socket", "half a request", "upload"])
    pause = chance.uniform(0, 3)
    if kind == "socket":
        with connect(address.replace("http", "ws") + "/v1/realtime/video", max_size=None, open_timeout=120) as client:
            client.send(json.dumps({"type": "start", "prompt": PROMPT, "size": "128x128"}))
            time.sleep(pause)
            client.socket.shutdown(socket.SHUT_RDWR)
        return
    with socket.create_connection((host, port), timeout=120) as raw:
        if kind == "stream":
            raw.sendall(b"GET /v1/stream?prompt=a%20red%20circle&size=128x128 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        elif kind == "upload":
            head = b"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
            raw.sendall(head + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
        else:
            raw.sendall(b"GET /v1/vid")
        time.sleep(pause)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets the connection


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of another process")
def test_fifty_clients_that_connect_stall_and_vanish_leave_nothing_behind(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = server

    def crowd(seed: int) -> None:
        chances = [random.Random(seed * NUM_CLIENTS + n) for n in range(NUM_CLIENTS)]
        threads = [threading.Thread(target=misbehave, args=(address, chance)) for chance in chances]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def is_at_rest() -> bool:
        health = httpx.get(f"{address}/healthz", timeout=120).json()
        return health["running"] + health["waiting"] == 0

    crowd(0)
    wait_until(is_at_rest, 300)
    before, files = resident_bytes(process.pid), len(os.listdir(f"/proc/{process.pid}/fd"))
    for seed in (1, 2):
        crowd(seed)
        wait_until(is_at_rest, 300)
    assert resident_bytes(process.pid) < 1.1 * before
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) <= files + 5, 300)
    answer = httpx.get(f"{address}/v1/stream", params={"prompt": PROMPT, "num_frames": 8}, timeout=120)
    assert (answer.status_code, answer.content[4:8]) == (200, b"ftyp")


def wait_for_video(address: str, name: str, key: str, at_least: int) -> None:
    wait_until(lambda: (httpx.get(f"{address}/v1/videos/{name}", timeout=120).json()[key] or -1) >= at_least, 600)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_stopped_or_killed_goes_on_with_its_videos(tmp_path: Path, number: signal.Signals) -> None:
    asked = {"prompt": PROMPT, "num_frames": 240, "seed": 3, "num_inference_steps": 20}
    contents = []
    for ends_early in (False, True):
        process, address = start(tmp_path / str(ends_early))
        name = httpx.post(f"{address}/v1/videos", json=asked, timeout=120).json()["id"]
        if ends_early:
            wait_for_video(address, name, "frames_made", 16)
            process.send_signal(number)
            assert process.wait(120) == -number
            process, address = start(tmp_path / str(ends_early))
        wait_for_video(address, name, "progress", 100)
        wait_for_video(address, name, "completed_at", 0)
        contents.append(httpx.get(f"{address}/v1/videos/{name}/content", timeout=120).content)
        process.kill()
        process.wait(60)
    assert contents[0] == contents[1]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_the_openapi_document_holds(tmp_path: Path, mode: str) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode, checks
    from schemathesis.core.result import Ok

    small = {"frames": 16, "stream_frames": 16, "waiting": 1000, "steps": 2, "pixels": 32 * 32}
    with served(service(tmp_path, small)) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        held = [getattr(checks, name) for name in CHECKS]
        found = list(schema.get_all_operations())
        operations = [result.ok() for result in found if isinstance(result, Ok)]
        assert len(operations) == len(found) >= 8
        if mode == "negative":  # any text may be an id, any bytes a state: only queries and other bodies can be wrong
            operations = [
                each for each in operations if each.query or any(body.media_type != BYTES for body in each.body)
            ]
        for operation in operations:

            @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
            @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
            def holds(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=held)

            holds()
