"""Laws of video jobs over HTTP: what they give, what they refuse, what they leave behind."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from fastapi.testclient import TestClient

import tiny_pipeline
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.serving.refusals import without_folders
from malt.sessions.session import Session
from tiny_server import service, wait_until
from tiny_uploads import NO_USE, film, picture

PIPE = tiny_pipeline.pipeline()
SEGMENT, PROMPT = tiny_pipeline.SEGMENT, tiny_pipeline.PROMPT


def client_of(data: Path, **settings: Any) -> TestClient:
    return TestClient(serving_app(data, **settings), base_url="http://127.0.0.1")


def serving_app(data: Path, **settings: Any) -> Any:
    from malt.serving.app import create_app

    return create_app(service(data, pipe=PIPE, **settings))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(tmp_path / "data") as client:
        yield client


def finished(client: TestClient, name: str) -> dict[str, Any]:
    wait_until(lambda: client.get(f"/v1/videos/{name}").json()["status"] not in ("queued", "in_progress"))
    return client.get(f"/v1/videos/{name}").json()


def error_body(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def num_frames(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_is_what_its_session_alone_would_have_made(client: TestClient, tmp_path: Path) -> None:
    asked = {"prompt": PROMPT, "num_frames": 2 * SEGMENT + 3, "seed": 5, "size": "32x32", "model": "tiny"}
    answer = client.post("/v1/videos", json=asked)
    assert answer.status_code == 200, answer.text
    video = answer.json()
    assert (video["object"], video["status"] in ("queued", "in_progress"), video["num_frames"]) == ("video", True, 19)
    done = finished(client, video["id"])
    assert (done["status"], done["progress"], done["frames_made"], done["error"]) == ("completed", 100, 19, None)
    content = client.get(f"/v1/videos/{video['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    with VideoSink(tmp_path / "alone.mp4", frame_rate=PIPE.frame_rate) as sink:
        for segment in Session.begin(PIPE, PROMPT, seed=5, num_frames=19).stream(19):
            sink.write(to_pixels(segment.frames[0, : 19 - segment.start]))
    assert content.content == (tmp_path / "alone.mp4").read_bytes()
    part = client.get(f"/v1/videos/{video['id']}/content", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, content.content[:10])


def test_videos_are_listed_latest_first_and_gone_when_deleted(client: TestClient, tmp_path: Path) -> None:
    names = [client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": 8}).json()["id"] for _ in range(3)]
    for name in names:
        finished(client, name)
    listed = client.get("/v1/videos", params={"limit": 2}).json()
    assert ([video["id"] for video in listed["data"]], listed["has_more"]) == (names[:0:-1], True)
    assert "no such video" in error_body(client.get("/v1/videos", params={"after": "video_0"}), 404)
    rising = client.get("/v1/videos", params={"order": "asc", "after": names[0]}).json()
    assert [video["id"] for video in rising["data"]] == names[1:]
    rest = client.get("/v1/videos", params={"after": listed["last_id"]}).json()
    assert [video["id"] for video in rest["data"]] == names[:1]
    assert client.delete(f"/v1/videos/{names[0]}").json()["deleted"] is True
    assert "no such video" in error_body(client.get(f"/v1/videos/{names[0]}"), 404)
    assert not (tmp_path / "data" / names[0]).exists()


def test_an_unfinished_video_can_be_seen_in_part_cancelled_and_deleted(client: TestClient, tmp_path: Path) -> None:
    name = client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": 256, "num_inference_steps": 40}).json()["id"]
    assert "partial=true" in error_body(client.get(f"/v1/videos/{name}/content"), 409)
    wait_until(lambda: client.get(f"/v1/videos/{name}").json()["frames_made"])
    assert num_frames(client.get(f"/v1/videos/{name}/content", params={"partial": True}).content) >= SEGMENT
    client.post(f"/v1/videos/{name}/cancel")
    assert finished(client, name)["status"] == "cancelled"
    client.delete(f"/v1/videos/{name}")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("asked", "status", "about"),
    [
        ({"prompt": ""}, 400, "prompt is empty"),
        ({"prompt": "x" * 5000}, 400, "5000 characters"),
        ({"prompt": PROMPT, "num_frames": 257}, 400, "asked for 257 frames"),
        ({"prompt": PROMPT, "seconds": 1e300}, 400, "frames"),
        ({"prompt": PROMPT, "seconds": 1, "num_frames": 8}, 400, "give one of them"),
        ({"prompt": PROMPT, "size": "32x32", "width": 32, "height": 32}, 400, "give size, or both width and height"),
        ({"prompt": PROMPT, "width": 32}, 400, "both width and height"),
        ({"prompt": PROMPT, "size": "big"}, 422, "size"),
        ({"prompt": PROMPT, "num_inference_steps": 10**6}, 400, "denoising steps"),
        ({"prompt": PROMPT, "model": "sora-2"}, 400, "no model 'sora-2' here"),
        ({"prompt": PROMPT, "driver": "cruise"}, 400, "takes no actions"),
        ({"prompt": "a circle [900s] | a square", "num_frames": 64}, 400, "shorter times"),
        ({"prompt": PROMPT, "seed": -1}, 422, "seed"),
        ({"prompt": PROMPT, "fps": 0}, 422, "fps"),
        ({"prompt": PROMPT, "input_reference": {"image_url": "https://example.com/a.png"}}, 400, "nothing is fetched"),
        ({"prompt": PROMPT, "input_reference": {"file_id": "file_1"}}, 400, "send the file itself"),
        ({"prompt": PROMPT, "image_reference": "data:image/png;base64,???"}, 400, "is damaged"),
        ([], 422, "valid dictionary"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(client: TestClient, asked: Any, status: int, about: str) -> None:
    assert about in error_body(client.post("/v1/videos", json=asked), status)
    assert client.get("/v1/videos").json()["data"] == []


def test_a_video_goes_on_from_a_picture_or_a_film_that_was_sent(client: TestClient) -> None:
    for name, content, ending in [("input_reference", picture(), "png"), ("video", film(12), "mp4")]:
        fields = {"prompt": PROMPT, "num_frames": "24", "seed": "3"}
        answer = client.post("/v1/videos", data=fields, files={name: (f"../../{name}.{ending}", content)})
        assert answer.status_code == 200, answer.text
        done = finished(client, answer.json()["id"])
        assert (done["status"], done["frames_made"]) == ("completed", 24), done


@pytest.mark.parametrize(("content", "about"), NO_USE)
def test_uploads_that_are_no_use_are_refused_and_leave_nothing(
    client: TestClient, tmp_path: Path, content: bytes, about: str
) -> None:
    answer = client.post(
        "/v1/videos", data={"prompt": PROMPT}, files={"video": ("../../evil.mp4", content, "video/mp4")}
    )
    assert about in error_body(answer, 400)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", ".lock"]


def test_few_bytes_that_become_many_large_frames_are_refused(client: TestClient) -> None:
    fields = {"prompt": PROMPT, "num_frames": "256", "size": "512x512"}
    answer = client.post("/v1/videos", data=fields, files={"video": ("a.mp4", film(2, seconds_between=300))})
    assert "becomes more than 85 frames of 512x512" in error_body(answer, 400)


def test_a_request_that_is_too_large_or_of_no_known_kind_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/videos", data={"prompt": PROMPT}, files={"video": ("a.mp4", bytes(2**21))})
    assert "larger than" in error_body(answer, 413)
    assert "send JSON" in error_body(client.post("/v1/videos", content=b"x", headers={"content-type": "text/x"}), 415)
    answer = client.post("/v1/videos", data={"prompt": PROMPT}, files={"evil": ("a.mp4", b"x")})
    assert "'evil'" in error_body(answer, 400)


def test_those_for_whom_there_is_no_room_are_told_to_come_back(client: TestClient) -> None:
    asked = {"prompt": PROMPT, "num_frames": 256, "num_inference_steps": 100}
    answers = [client.post("/v1/videos", json=asked) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert "try again" in error_body(answers[-1], 429)
    health = client.get("/healthz").json()
    assert (health["status"], health["model"], health["running"], health["waiting"]) == ("ok", "tiny", 2, 3)


def test_as_many_videos_are_kept_as_there_may_be(tmp_path: Path) -> None:
    with client_of(tmp_path, limits={"stored": 1}) as client:
        assert client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": 8}).status_code == 200
        assert "delete some" in error_body(client.post("/v1/videos", json={"prompt": PROMPT}), 429)


def test_videos_survive_a_restart_and_unfinished_ones_end_as_if_there_had_been_none(tmp_path: Path) -> None:
    asked = {"prompt": PROMPT, "num_frames": 12 * SEGMENT + 3, "seed": 2, "num_inference_steps": 10}
    with client_of(tmp_path) as client:
        whole = client.post("/v1/videos", json=asked).json()["id"]
        expected = finished(client, whole)
        content = client.get(f"/v1/videos/{whole}/content").content
        names = [client.post("/v1/videos", json=asked).json()["id"] for _ in range(3)]
        first = client.post("/v1/videos", data={"prompt": PROMPT, "num_frames": 24}, files={"image": ("a", picture())})
        wait_until(lambda: client.get(f"/v1/videos/{names[0]}").json()["frames_made"])
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in names]
    assert {record["status"] for record in records} == {"queued"}
    with client_of(tmp_path) as client:
        assert client.get(f"/v1/videos/{whole}").json() == expected
        assert finished(client, first.json()["id"])["frames_made"] == 24
        for name in names:
            assert finished(client, name)["status"] == "completed"
            assert client.get(f"/v1/videos/{name}/content").content == content


def test_a_server_with_another_model_leaves_unfinished_videos_for_their_own(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        asked = {"prompt": PROMPT, "num_frames": 256, "num_inference_steps": 100}
        name = client.post("/v1/videos", json=asked).json()["id"]
        wait_until(lambda: client.get(f"/v1/videos/{name}").json()["frames_made"])
    other = service(tmp_path, pipe=tiny_pipeline.pipeline(num_layers=1))
    from malt.serving.app import create_app

    with TestClient(create_app(other), base_url="http://127.0.0.1") as client:
        told = client.get(f"/v1/videos/{name}").json()
        assert (told["status"], "made by the model" in told["error"]["message"]) == ("failed", True)
    assert json.loads((tmp_path / name / "record.json").read_text())["status"] == "queued"


def test_the_token_is_asked_for_everywhere_but_at_the_pulse(tmp_path: Path) -> None:
    with client_of(tmp_path, token="secret") as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/v1/videos", "/metrics", "/openapi.json", "/v1/stream?prompt=x", "/nowhere"):
            assert "token" in error_body(client.get(path), 401)
        for wrong in ("Bearer wrong", "Bearer", "secret", "Basic !", "Basic c2VjcmV0"):
            assert client.get("/v1/videos", headers={"Authorization": wrong}).status_code == 401
        assert client.get("/v1/videos", headers={"Authorization": "Bearer secret"}).status_code == 200
        assert client.get("/v1/videos", auth=("anybody", "secret")).status_code == 200


def test_pages_of_other_sites_and_hosts_of_other_names_are_kept_out(client: TestClient) -> None:
    assert "another site" in error_body(client.get("/v1/videos", headers={"Origin": "https://evil.example"}), 403)
    assert client.get("/v1/videos", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert "not this machine" in error_body(client.get("/v1/videos", headers={"Host": "evil.example"}), 403)
    assert client.get("/v1/videos", headers={"Origin": "http://127.0.0.1"}).status_code == 200


def test_the_figures_count_what_was_made_and_refused(client: TestClient) -> None:
    finished(client, client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": SEGMENT}).json()["id"])
    client.get("/v1/videos/nothing")
    text = client.get("/metrics").text
    assert f"malt_frames_total {float(SEGMENT)}" in text
    assert 'malt_jobs_total{kind="video",state="done"} 1.0' in text
    assert 'malt_refused_total{status="404"} 1.0' in text


def test_errors_have_openais_shape_and_no_folders_of_the_server(client: TestClient, tmp_path: Path) -> None:
    error = client.get("/v1/videos/nothing").json()["error"]
    message = "there is no such video"
    assert error == {"message": message, "type": "invalid_request_error", "param": None, "code": "not_found"}
    assert client.post("/v1/videos", json={"seed": -1}).json()["error"]["param"] == "seed"
    assert without_folders(f"could not write {tmp_path}/a.mp4 (see http://x/y/z)") == (
        "could not write a.mp4 (see http://x/y/z)"
    )


def test_what_is_made_otherwise_than_it_was_asked_for_is_told(client: TestClient) -> None:
    asked = {"prompt": "a red zeppelin", "num_frames": 8, "size": "1280x720", "fps": 16, "user": "me", "seconds": None}
    video = client.post("/v1/videos", json=asked).json()
    assert video["size"] == "672x384" and "user" in video["remarks"][0] and "zeppelin" in video["remarks"][1]
    assert "frames of 1280x720 are not made here; this video has the nearest, 672x384" in video["remarks"][2]
    assert video["seconds"] == "0.5"
    client.delete(f"/v1/videos/{video['id']}")


def test_two_videos_without_a_seed_are_two_videos(client: TestClient) -> None:
    seeds = {client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": 8}).json()["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_a_first_picture_may_come_as_a_data_url(client: TestClient) -> None:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    asked = {"prompt": PROMPT, "num_frames": 16, "input_reference": {"image_url": url}}
    answer = client.post("/v1/videos", json=asked)
    assert answer.status_code == 200, answer.text
    assert finished(client, answer.json()["id"])["frames_made"] == 16


def test_head_answers_as_get_does_without_a_body(client: TestClient) -> None:
    answer = client.head("/v1/videos")
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.head("/v1/stream").status_code == 405


def test_the_page_of_the_api_needs_no_network_and_no_script(client: TestClient) -> None:
    page = client.get("/").text
    assert "POST /v1/videos/extensions" in page and "num_inference_steps" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page


def test_a_video_that_is_asked_for_in_one_call_is_not_kept(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/v1/videos/sync", data={"prompt": PROMPT, "num_frames": 8})
    assert (answer.status_code, answer.headers["content-type"], num_frames(answer.content)) == (200, "video/mp4", 8)
    assert client.get("/v1/videos").json()["data"] == []


def test_requests_are_noted_without_what_they_asked_for(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "malt.access"):
        client.get("/v1/stream", params={"prompt": "", "secret": "word"})
    assert "GET '/v1/stream' 400" in caplog.text and "word" not in caplog.text


def test_nothing_finished_for_too_long_is_called_degraded(tmp_path: Path) -> None:
    of, gate = service(tmp_path, {"quiet_seconds": 0.05}, pipe=PIPE), threading.Event()
    from malt.serving.app import create_app

    with TestClient(create_app(of), base_url="http://127.0.0.1") as client:
        assert client.get("/healthz").json()["status"] == "ok"
        of.worker.do(gate.wait)
        wait_until(lambda: client.get("/healthz").status_code == 503)
        assert client.get("/healthz").json()["status"] == "degraded"
        gate.set()
        wait_until(lambda: client.get("/healthz").status_code == 200)


def test_named_pages_of_other_sites_may_use_the_server(tmp_path: Path) -> None:
    with client_of(tmp_path, origins=["http://localhost:3000"], token="secret") as client:
        own, other = {"Origin": "http://localhost:3000"}, {"Origin": "https://evil.example"}
        token = {"Authorization": "Bearer secret"}
        answer = client.get("/v1/videos", headers=own | token)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, own["Origin"])
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert client.options("/v1/videos", headers=own | asking).status_code == 200
        assert client.get("/v1/videos", headers=other | token).status_code == 403
        assert client.get("/v1/videos", headers=own).status_code == 401


def test_the_openapi_document_tells_what_a_request_may_hold(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/videos"]["post"]["requestBody"]["content"]
    assert body.keys() == {"application/json", "multipart/form-data"}
    assert "num_inference_steps" in body["application/json"]["schema"]["properties"]
    assert {"/v1/videos/{video_id}/content", "/v1/stream", "/healthz", "/metrics"} <= document["paths"].keys()
