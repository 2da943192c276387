"""Laws of what a server keeps: bounded, locked, and no damage costs more than what it has hit."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import tiny_pipeline
from malt.errors import UsageError
from malt.serving.app import create_app
from malt.serving.job_store import JobStore, Record
from tiny_server import service, wait_until

PIPE = tiny_pipeline.pipeline(settings={"num_inference_steps": 1})
PROMPT, SEGMENT = tiny_pipeline.PROMPT, tiny_pipeline.SEGMENT
ASKED = {"prompt": PROMPT, "num_frames": 4 * SEGMENT + 3, "seed": 2}


def client_of(data: Path, **limits: Any) -> TestClient:
    return TestClient(create_app(service(data, limits, pipe=PIPE)), base_url="http://127.0.0.1")


def finished(client: TestClient, name: str) -> dict[str, Any]:
    wait_until(lambda: client.get(f"/v1/videos/{name}").json()["status"] not in ("queued", "in_progress"))
    return client.get(f"/v1/videos/{name}").json()


def made(client: TestClient, **asked: Any) -> str:
    answer = client.post("/v1/videos", json=ASKED | asked)
    assert answer.status_code == 200, answer.text
    assert finished(client, answer.json()["id"])["status"] == "completed"
    return answer.json()["id"]


def queue_again(data: Path, name: str, **changes: Any) -> None:
    """Let a finished job look as one that a kill has cut short."""
    file = data / name / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "queued"} | changes))


def test_a_folder_belongs_to_one_server_at_a_time(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    with pytest.raises(UsageError, match="another server keeps its videos in"):
        JobStore(tmp_path)
    store.close()
    JobStore(tmp_path).close()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"id": 3}', "[" * 100_000])
def test_a_damaged_record_costs_itself_alone_and_stays_where_it_is(tmp_path: Path, content: str) -> None:
    with client_of(tmp_path) as client:
        name, damaged = made(client), made(client, num_frames=SEGMENT)
    (tmp_path / damaged / "record.json").write_text(content)
    with client_of(tmp_path) as client:
        assert [video["id"] for video in client.get("/v1/videos").json()["data"]] == [name]
        assert "malt_records_damaged 1.0" in client.get("/metrics").text
    assert (tmp_path / damaged / "video.mp4").is_file()


def test_what_a_later_version_adds_to_a_record_does_no_harm(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        name = made(client)
    queue_again(tmp_path, name, mood="merry")
    file = tmp_path / name / "record.json"
    file.write_text(file.read_text().replace('"seed": 2', '"seed": 2, "mood": "merry"'))
    with client_of(tmp_path) as client:
        assert finished(client, name)["status"] == "completed"


@pytest.mark.parametrize("loss", ["session.json", "newest snapshot", "all snapshots", "video", "another's video"])
def test_a_job_whose_files_are_damaged_ends_as_if_they_were_not(tmp_path: Path, loss: str) -> None:
    with client_of(tmp_path) as client:
        name, other = made(client), made(client, seed=3)
    folder, before = tmp_path / name, (tmp_path / name / "video.mp4").read_bytes()
    snapshots = sorted((folder / "video.session").glob("0*.safetensors"))
    for file in {"newest snapshot": snapshots[-1:], "all snapshots": snapshots}.get(loss, []):
        file.write_bytes(b"damaged")
    if loss == "session.json":
        (folder / "video.session" / loss).write_text("{")
    if loss == "video":
        (folder / "video.mp4").unlink()
    if loss == "another's video":
        shutil.copy(tmp_path / other / "video.mp4", folder / "video.mp4")
    queue_again(tmp_path, name, frames_made=4 * SEGMENT)
    with client_of(tmp_path) as client:
        assert finished(client, name)["status"] == "completed"
    assert (folder / "video.mp4").read_bytes() == before


def test_a_job_that_the_server_does_not_survive_is_given_up_in_the_end(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        name = made(client)
    queue_again(tmp_path, name, attempts=3)
    with client_of(tmp_path) as client:
        told = client.get(f"/v1/videos/{name}").json()
        assert (told["status"], "ended 3 times" in told["error"]["message"]) == ("failed", True)


def test_the_disk_is_bounded_and_told(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        name = made(client)
        used = float(client.get("/metrics").text.split("\nmalt_disk_bytes ")[1].split()[0])
        assert used == sum(file.stat().st_size for file in (tmp_path / name).rglob("*") if file.is_file()) > 10_000
    with client_of(tmp_path, disk_bytes=int(used) + 1) as client:
        answer = client.post("/v1/videos", json=ASKED)
        assert (answer.status_code, "delete some" in answer.json()["error"]["message"]) == (507, True)
        client.delete(f"/v1/videos/{name}")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, *more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with client_of(tmp_path) as client:
        monkeypatch.setattr("os.fsync", full)
        answer = client.post("/v1/videos", json=ASKED)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
        assert str(tmp_path) not in answer.text
        monkeypatch.undo()
        assert client.get("/v1/videos").json()["data"] == []
    assert [file.name for file in tmp_path.iterdir()] == []


def test_videos_are_deleted_once_they_were_kept_for_long_enough(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        name = made(client)
        assert client.get(f"/v1/videos/{name}").json()["expires_at"] is None
    with client_of(tmp_path, keep_seconds=1e6) as client:
        told = client.get(f"/v1/videos/{name}").json()
        assert told["expires_at"] - told["completed_at"] == 1e6
    with client_of(tmp_path, keep_seconds=1e-3) as client:
        assert client.get("/v1/videos").json()["data"] == []
    assert not (tmp_path / name).exists()


def test_a_record_is_whole_or_not_there(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    record = Record(request={"prompt": PROMPT, "seed": 1}, model="tiny", size="32x32", num_frames=8, frame_rate=8.0)
    store.put(record)
    assert list(store.records()) == [record]
    store.close()
