"""Laws of calls as the documents of vLLM-Omni and SGLang have them: they work as they stand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import tiny_pipeline
from malt.serving.app import create_app
from tiny_server import service, wait_until
from tiny_uploads import film, picture

# A tenth of the documented frames and steps; all else as it stands.
OMNI = {"width": "1280", "height": "720", "num_frames": "8", "fps": "16", "num_inference_steps": "4"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    of = service(tmp_path_factory.mktemp("data"), {"pixels": 1})
    with TestClient(create_app(of), base_url="http://127.0.0.1") as client:
        yield client


def finished(client: TestClient, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    place = f"/v1/videos/{answer.json()['id']}"
    wait_until(lambda: client.get(place).json()["status"] not in ("queued", "in_progress"))
    return client.get(place).json()


@pytest.mark.parametrize(
    ("fields", "file"),
    [
        ({"prompt": "A cinematic tracking shot of a mountain lake at sunrise"}, None),
        ({"prompt": "animate this image with subtle camera movement"}, ("input.png", picture(), "image/png")),
        ({"prompt": "continue this motion"}, ("input.mp4", film(24), "video/mp4")),
        ({"prompt": "a cat", "negative_prompt": "a dog", "guidance_scale": "4.5", "seed": "1", "user": "me"}, None),
        ({"prompt": "a cat", "guidance_scale_2": "3", "boundary_ratio": "0.9", "flow_shift": "5", "lora": "{}"}, None),
    ],
)
def test_forms_of_vllm_omni(client: TestClient, fields: dict[str, str], file: Any) -> None:
    # Fields without a file are sent as multipart too, as curl -F does.
    parts = {name: (None, value) for name, value in (OMNI | fields).items()} | (
        {"input_reference": file} if file else {}
    )
    done = finished(client, client.post("/v1/videos", files=parts))
    assert (done["status"], done["num_frames"], done["seconds"]) == ("completed", 8, "0.5"), done
    for unknown in ("user", "flow_shift"):
        assert (unknown in fields) == any(unknown in remark for remark in done["remarks"])


def test_the_synchronous_call_of_vllm_omni(client: TestClient) -> None:
    parts = {"prompt": "A small robot", "width": "854", "height": "480", "num_frames": "8", "fps": "16"}
    answer = client.post("/v1/videos/sync", files={name: (None, value) for name, value in parts.items()})
    assert (answer.status_code, answer.content[4:8]) == (200, b"ftyp")


def test_calls_of_sglang(client: TestClient, tmp_path: Path) -> None:
    key = {"Authorization": "Bearer sk-proj-1234567890"}
    asked = {"prompt": "A calico cat playing a piano on stage", "size": "1280x720"}
    answer = client.post("/v1/videos", json=asked, headers=key)
    assert answer.status_code == 200, answer.text
    assert client.get("/v1/videos", headers=key).json()["data"][0]["id"] == answer.json()["id"]
    client.delete(f"/v1/videos/{answer.json()['id']}", headers=key)
    more = asked | {"negative_prompt": "blurry", "fps": 24, "num_frames": 8, "guidance_scale": 5.0, "seconds": None}
    name = finished(client, client.post("/v1/videos", json=more, headers=key))["id"]
    assert client.get(f"/v1/videos/{name}/content", headers=key).content[4:8] == b"ftyp"


def test_a_negative_prompt_counts(client: TestClient) -> None:
    asked = {"prompt": tiny_pipeline.PROMPT, "num_frames": 8, "seed": 1, "guidance_scale": 3}
    names = [
        finished(client, client.post("/v1/videos", json=asked | more))["id"]
        for more in ({}, {"negative_prompt": "red"})
    ]
    one, other = (client.get(f"/v1/videos/{name}/content").content for name in names)
    assert one != other
