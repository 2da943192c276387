"""Laws of what the studio's page fetches, and of who may come in."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import tiny_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.pipelines.model_place import ModelPlace
from malt.sessions.session import Session
from malt.studio.models import Model, Models
from malt.studio.page import EXAMPLE, build_page
from malt.studio.page_app import create_app
from malt.studio.visitor import GenerationSettings, Visitor
from malt.studio.visitors import Studio
from tiny_server import wait_until

PIPE = tiny_pipeline.pipeline()
SEGMENT = tiny_pipeline.SEGMENT
HERE = {"Host": "127.0.0.1"}


def only(pipe: MaltPipeline) -> Models:
    return Models({"first": ModelPlace()}, lambda place: pipe)


def opened(folder: Path, **settings: Any) -> Studio:
    return Studio(Models({"tiny": ModelPlace()}, lambda place: PIPE), folder, scale=1, **settings)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return opened(tmp_path)


@pytest.fixture
def client(studio: Studio) -> Iterator[TestClient]:
    with TestClient(create_app(studio), base_url="http://127.0.0.1") as client:
        yield client


def made(studio: Studio, segments: int = 2) -> Visitor:
    visitor = studio.welcome()
    visitor.begin(
        Model("tiny", ModelPlace(), PIPE),
        GenerationSettings(prompt=tiny_pipeline.PROMPT, num_frames=segments * SEGMENT),
    )
    wait_until(lambda: not visitor.job.is_going)
    return visitor


def test_the_page_is_there(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "malt studio" in page.text
    assert client.get("/healthz").json()["status"] == "ok"


def test_the_page_of_a_model_that_acts_begins_without_words(tmp_path: Path) -> None:
    acting = tiny_pipeline.pipeline(settings={"action_names": ["steering", "throttle"]}, action_dim=8)
    for pipe, words in ((PIPE, EXAMPLE), (acting, "")):
        page = build_page(Studio(only(pipe), tmp_path))
        (prompt,) = [block for block in page.blocks.values() if getattr(block, "elem_id", None) == "prompt"]
        assert prompt.value == words  # type: ignore[attr-defined]


def test_frames_come_by_take_revision_and_number(studio: Studio, client: TestClient) -> None:
    visitor = made(studio)
    strip = client.get(f"/studio/{visitor.key}/1/0/{SEGMENT}.jpg")
    assert (strip.headers["X-Start"], strip.headers["X-Count"]) == (str(SEGMENT), str(SEGMENT))
    assert strip.content.startswith(b"\xff\xd8")
    for place in (f"{visitor.key}/1/0/{2 * SEGMENT}", f"{visitor.key}/1/1/0", f"{visitor.key}/2/0/0", "another/1/0/0"):
        assert client.get(f"/studio/{place}.jpg").status_code == 404


def test_the_video_and_its_session_are_files(studio: Studio, client: TestClient, tmp_path: Path) -> None:
    visitor = made(studio)
    video = client.get(f"/studio/{visitor.key}/1/video.mp4")
    assert "attachment" in video.headers["content-disposition"]
    with av.open(io.BytesIO(video.content), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 2 * SEGMENT
    packed = client.get(f"/studio/{visitor.key}/1/session.zip")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "take-1.mp4").read_bytes() == video.content
    assert Session.load(tmp_path / "unpacked" / "take-1.session", PIPE).num_frames == 2 * SEGMENT
    assert client.get("/studio/another/1/video.mp4").status_code == 404


def test_of_nothing_there_is_no_file(studio: Studio, client: TestClient) -> None:
    visitor = made(studio)
    visitor.rewind(0)
    for name in ("video.mp4", "session.zip", "1/0.jpg"):
        assert client.get(f"/studio/{visitor.key}/1/{name}").status_code == 404


def test_the_scene_is_told_when_it_changes_and_takes_are_chosen_through_it(studio: Studio, client: TestClient) -> None:
    visitor = made(studio)
    visitor.branch(SEGMENT, 1, tiny_pipeline.PROMPT, SEGMENT)
    wait_until(lambda: not visitor.job.is_going)
    with client.websocket_connect(f"/studio/{visitor.key}", headers=HERE) as socket:
        assert [take["number"] for take in socket.receive_json()["takes"]] == [1, 2]
        socket.send_json({"type": "choose", "take": 1})
        while socket.receive_json()["current"] != 1:
            pass
        socket.send_json({"type": "look", "frame": 3})
        socket.send_json({"type": "dance"})
        while "does not understand" not in socket.receive_json()["problem"]:
            pass
        socket.send_json({"type": "drop", "take": 2})
        while len(socket.receive_json()["takes"]) != 1:
            pass
        assert visitor.watchers == 1
    wait_until(lambda: visitor.watchers == 0)


def test_an_unknown_visit_is_told_to_load_the_page_again(client: TestClient) -> None:
    with client.websocket_connect("/studio/guess", headers=HERE) as socket, pytest.raises(WebSocketDisconnect) as ended:
        socket.receive_json()
    assert ended.value.code == 4404 and "load the page again" in (ended.value.reason or "")


def test_others_pages_and_those_without_the_token_stay_out(tmp_path: Path) -> None:
    with TestClient(create_app(opened(tmp_path, token="secret")), base_url="http://127.0.0.1") as client:
        assert client.get("/").status_code == 401
        assert client.get("/", auth=("anyone", "secret")).status_code == 200
        assert client.get("/", auth=("anyone", "secret"), headers={"Host": "elsewhere.example"}).status_code == 403
        elsewhere = {"Origin": "http://elsewhere.example"}
        assert client.get("/config", auth=("anyone", "secret"), headers=elsewhere).status_code == 403


def test_when_the_studio_closes_nothing_is_left_of_its_visitors(tmp_path: Path) -> None:
    studio = opened(tmp_path)
    with TestClient(create_app(studio), base_url="http://127.0.0.1"):
        made(studio)
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []
