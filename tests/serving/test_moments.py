"""Laws of a hand on the memory of what a server makes: over HTTP and over the WebSocket."""

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from websockets.sync.client import ClientConnection, connect

import tiny_pipeline
from malt.serving.app import create_app
from malt.sessions.session import Session
from tiny_pipeline import PROMPT, SEGMENT
from tiny_server import served, service, wait_until

PIPE = tiny_pipeline.pipeline(memory="hierarchical")


def refused(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def test_a_job_keeps_recalls_and_forgets_while_it_is_made_and_saves_it(tmp_path: Path) -> None:
    with TestClient(create_app(service(tmp_path / "data", pipe=PIPE)), base_url="http://127.0.0.1") as client:
        asked = {"prompt": PROMPT, "num_frames": 256, "num_inference_steps": 20}
        name = client.post("/v1/videos", json=asked).json()["id"]
        place = f"/v1/videos/{name}/memory"
        wait_until(lambda: client.get(f"/v1/videos/{name}").json()["frames_made"])
        (kept,) = client.post(place, json={"change": "keep", "name": "the yard"}).json()["data"]
        assert (kept["name"], kept["frame"] % SEGMENT, kept["bytes"] > 0) == ("the yard", 0, True)
        assert client.post(place, json={"change": "recall", "name": "the yard", "context": False}).json()["data"] == [
            kept
        ]
        assert client.get(place).json()["data"] == [kept]
        assert "did you mean 'the yard'?" in refused(client.post(place, json={"change": "forget", "name": "the yrad"}))
        assert "'the yard' is kept already" in refused(client.post(place, json={"change": "keep", "name": "the yard"}))
        assert client.post(place, json={"change": "burn", "name": "the yard"}).status_code in (400, 422)
        client.post(f"/v1/videos/{name}/cancel")
        wait_until(lambda: client.get(f"/v1/videos/{name}").json()["status"] == "cancelled")
        assert list(Session.load(tmp_path / "data" / name / "video.session", PIPE).kept) == ["the yard"]
        assert "the video is cancelled; only one that is being made" in refused(client.get(place))


def test_what_a_server_grants_bounds_what_is_kept(tmp_path: Path) -> None:
    of = service(tmp_path / "data", {"kept_bytes": 10}, pipe=PIPE)
    with TestClient(create_app(of), base_url="http://127.0.0.1") as client:
        asked = {"prompt": PROMPT, "num_frames": 256, "num_inference_steps": 20}
        name = client.post("/v1/videos", json=asked).json()["id"]
        wait_until(lambda: client.get(f"/v1/videos/{name}").json()["frames_made"])
        answer = client.post(f"/v1/videos/{name}/memory", json={"change": "keep", "name": "the yard"})
        assert "of at most 0.0 MB; forget a moment first" in refused(answer)
        client.delete(f"/v1/videos/{name}")


def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next event of a kind."""
    while True:
        heard = socket.recv(timeout=60)
        if isinstance(heard, str) and json.loads(heard)["type"] == kind:
            return json.loads(heard)


def test_the_socket_keeps_recalls_and_forgets(tmp_path: Path) -> None:
    of = service(tmp_path / "data", pipe=PIPE)
    with served(of) as address, connect(address.replace("http", "ws") + "/v1/realtime/video", max_size=None) as socket:

        def ask(change: str, name: str) -> None:
            socket.send(json.dumps({"type": "memory", "change": change, "name": name}))

        socket.send(json.dumps({"type": "memory", "change": "keep", "name": "the yard"}))
        assert "there is no video; send start first" in hear(socket, "error")["message"]
        socket.send(json.dumps({"type": "start", "prompt": PROMPT}))
        hear(socket, "segment")
        ask("keep", "the yard")
        (kept,) = hear(socket, "kept")["moments"]
        assert kept["name"] == "the yard"
        ask("recall", "the yard")
        assert hear(socket, "kept")["moments"] == [kept]
        ask("recall", "the garden")
        assert "nothing is kept as 'the garden'" in hear(socket, "error")["message"]
        ask("forget", "the yard")
        assert hear(socket, "kept")["moments"] == []
        socket.send(json.dumps({"type": "stop"}))
        assert hear(socket, "done")["state"] == "cancelled"
