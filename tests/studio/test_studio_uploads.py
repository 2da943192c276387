"""Laws of what visitors of the studio send: refused in a sentence on the page, and written nowhere but in its folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import tiny_pipeline
from malt.errors import UsageError
from malt.pipelines.model_place import ModelPlace
from malt.serving.limits import Limits
from malt.studio.models import Model, Models
from malt.studio.page_app import create_app
from malt.studio.visitors import Studio
from tiny_server import LIMITS, wait_until
from tiny_uploads import NO_USE, film

PIPE = tiny_pipeline.pipeline()
VISITOR = "a browser's tab"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("place")
        (place / "data").mkdir()
        (place / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n of others")
        patch.chdir(place)
        patch.setenv("GRADIO_TEMP_DIR", "")  # what the studio sets here is taken back
        yield place


@pytest.fixture(scope="module")
def studio(place: Path) -> Studio:
    return Studio(Models({"tiny": ModelPlace()}, lambda folder: PIPE), place / "data", scale=1, limits=Limits(**LIMITS))


@pytest.fixture(scope="module")
def client(studio: Studio) -> Iterator[TestClient]:
    with TestClient(create_app(studio), base_url="http://127.0.0.1") as client:
        call(client, "load")
        yield client
    assert list(studio.folder.iterdir()) == []  # what was sent is gone with the studio


def call(client: TestClient, trigger: str, **given: Any) -> dict[str, Any]:
    """What the page hears when a button is pressed, something is changed, or it loads; `given` are inputs by their kind."""
    config = client.get("/config").json()
    parts = {part["id"]: part for part in config["components"]}

    def name(part: int | None) -> Any:
        props = parts[part]["props"] if part in parts else {}
        return props.get("label") or props.get("value")

    act = next(
        each
        for each in config["dependencies"]
        if any(trigger in (name(part), event) for part, event in each["targets"])
    )
    data = [given.get(parts[part]["type"], parts[part]["props"].get("value")) for part in act["inputs"]]
    asked = {"data": data, "fn_index": act["id"], "session_hash": VISITOR}
    assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
    heard = client.get("/gradio_api/queue/data", params={"session_hash": VISITOR}).text
    events = [json.loads(line.removeprefix("data:")) for line in heard.splitlines() if line.startswith("data:")]
    return next(event["output"] for event in events if event["msg"] == "process_completed")


def sent(client: TestClient, name: str, content: bytes) -> dict[str, Any]:
    answer = client.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return named(answer.json()[0])


def named(path: str | Path) -> dict[str, Any]:
    """A file as the page speaks of it."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("content", "about"), NO_USE)
def test_files_that_are_no_use_are_refused_as_the_server_refuses_them(
    studio: Studio, tmp_path: Path, content: bytes, about: str
) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(content)
    with sent.open("rb") as file, pytest.raises(UsageError) as refusal:
        studio.read_first(file, Model("tiny", ModelPlace(), PIPE))
    assert about in str(refusal.value)


def test_what_was_sent_is_kept_in_the_studios_folder_whatever_its_name(client: TestClient, place: Path) -> None:
    before = {path.name for path in place.parent.iterdir()}
    file = sent(client, "../../../evil.mp4", b"words, whatever the name says")
    assert Path(file["path"]).is_relative_to(place / "data")
    assert "neither a picture nor a video" in call(client, "New video", file=file)["error"]
    assert {path.name for path in place.parent.iterdir()} == before
    assert {path.name for path in place.iterdir()} == {"data", "secret.png"}


def test_files_that_nobody_sent_are_not_read_for_a_visitor(client: TestClient, place: Path) -> None:
    for given in ({"file": named(place / "secret.png")}, {"textbox": named(place / "secret.png")}):
        assert "error" in call(client, "New video", **given)
    assert "secret.png" not in files(place / "data")


def test_nothing_is_fetched_from_elsewhere_for_a_visitor(client: TestClient) -> None:
    for given in ({"file": named("https://elsewhere.example/a.png")}, {"textbox": named("http://127.0.0.1/a.png")}):
        assert "fetches nothing from elsewhere" in call(client, "New video", **given)["error"]


def test_an_own_film_begins_a_video(client: TestClient, studio: Studio) -> None:
    assert "error" not in call(client, "New video", file=sent(client, "own.mp4", film(12)))
    (visitor,) = studio._visits.values()
    wait_until(lambda: visitor.take.made > 12)
    assert visitor.take.session.state.origin is not None
