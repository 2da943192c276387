"""Laws of what the studio's page fetches and asks for, and of who may come in."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from starlette.websockets import WebSocketDisconnect

import tiny_pipeline
from malt.serving.limits import Limits
from malt.sessions.session import Session
from malt.studio.page_app import FILES
from malt.studio.take import Take
from tiny_server import wait_until
from tiny_studio import PIPE, Page, opened
from tiny_uploads import NO_USE, film, picture

SEGMENT = tiny_pipeline.SEGMENT
HERE = {"Host": "127.0.0.1"}
OTHER = "a blue square passes behind a wall"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with opened(tmp_path / "data") as page:
        yield page


def test_the_page_and_all_that_it_names_come_from_the_studio_alone(page: Page) -> None:
    html = page.client.get("/")
    assert html.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    named = set(re.findall(r'(?:src|href)="([^"]+)"', html.text))
    named |= {f"page/{name}" for file in FILES.values() if file.suffix == ".js" for name in modules(file)}
    assert len(named) > 8
    for name in named:
        assert page.client.get(f"/{name}").status_code == 200, name
    for text in (html.text, *(file.read_text("utf-8") for file in FILES.values() if file.suffix in (".js", ".css"))):
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"']+", text)
    for name in ("../page_app.py", "..%2fpage_app.py", "nothing.js", "/etc/passwd"):
        assert page.client.get(f"/page/{name}").status_code == 404


def modules(file: Path) -> list[str]:
    return re.findall(r'from "\./([^"]+)"', file.read_text("utf-8"))


def test_no_script_is_larger_than_a_few_pages_of_text() -> None:
    scripts = [file.stat().st_size for file in FILES.values() if file.suffix == ".js"]
    assert max(scripts) < 20_000 and sum(scripts) < 60_000


def test_models_are_told_with_what_the_page_shows_of_them(page: Page) -> None:
    assert page.client.get("/studio/models").json()["models"] == ["tiny", "drive", "walk"]
    tiny = page.client.get("/studio/models/tiny").json()
    assert "circle" in tiny["words"] and tiny["actions"] == [] and not tiny["walks"]
    assert [each["prompt"] for each in tiny["examples"]] and all(
        not PIPE.unknown_words(e["prompt"].replace("[4s]", "")) for e in tiny["examples"]
    )
    assert page.client.get("/studio/models/walk").json()["walks"]
    assert page.client.get("/studio/models/none").status_code == 400


def test_frames_come_by_take_revision_and_number(page: Page) -> None:
    page.made()
    strip = page.get(f"1/0/{SEGMENT + 3}.jpg")
    assert (strip.headers["X-Start"], strip.headers["X-Count"]) == (str(SEGMENT), str(SEGMENT))
    fresh = np.asarray(Image.open(io.BytesIO(strip.content))).astype(float)
    page.studio.find(page.key).take._fresh.clear()
    read = np.asarray(Image.open(io.BytesIO(page.get(f"1/0/{SEGMENT}.jpg").content))).astype(float)
    assert read.shape == (32, 32 * SEGMENT, 3)
    wrong = np.abs(fresh - np.roll(read, 32, axis=1)).mean()  # a frame late
    assert np.abs(fresh - read).mean() < wrong / 2
    for place in (f"1/0/{2 * SEGMENT}", "1/1/0", "2/0/0"):
        page.get(f"{place}.jpg", 404)
    assert page.client.get("/studio/another/1/0/0.jpg").status_code == 404


def test_the_video_and_its_session_are_files_that_malt_resume_takes(page: Page, tmp_path: Path) -> None:
    page.made()
    video = page.get("1/video.mp4")
    assert "attachment" in video.headers["content-disposition"]
    with av.open(io.BytesIO(video.content), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 2 * SEGMENT
    with zipfile.ZipFile(io.BytesIO(page.get("1/session.zip").content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "take-1.mp4").read_bytes() == video.content
    assert Session.load(tmp_path / "unpacked" / "take-1.session", PIPE).num_frames == 2 * SEGMENT


def test_of_an_archive_only_a_piece_is_held_at_a_time(page: Page) -> None:
    from malt.studio import file_routes

    page.made()
    studio = page.studio
    files = studio.worker.do(lambda: file_routes._saved(studio.find(page.key).take)).result()
    pieces = list(file_routes._zipped([*files, ("large", io.BytesIO(bytes(3_000_000)), 3_000_000)]))
    assert max(map(len, pieces)) < 2 * file_routes.CHUNK < 3_000_000 < sum(map(len, pieces))


def test_of_nothing_there_is_no_file(page: Page) -> None:
    page.made()
    page.ask("rewind", frame=0)
    for name in ("video.mp4", "session.zip", "1/0.jpg"):
        page.get(f"1/{name}", 404)
    assert page.scene["takes"][0]["made"] == 0


def test_timed_prompts_are_taken_apart_by_every_button(page: Page) -> None:
    timed = f"{tiny_pipeline.PROMPT} [2s] | {OTHER}"
    second = int(2 * PIPE.frame_rate)
    page.made(prompt=timed)
    assert page.take["prompts"] == [[0, tiny_pipeline.PROMPT], [second, OTHER]]
    page.ask("go-on", prompt=f"two shapes [1s] | {tiny_pipeline.PROMPT}", frames=SEGMENT)
    page.rested()
    assert [text for _, text in page.take["prompts"]][-2:] == ["two shapes", tiny_pipeline.PROMPT]
    page.ask("branch", frame=SEGMENT, prompt=f"{OTHER} [8f] | two shapes", frames=SEGMENT)
    page.rested()
    assert page.take["prompts"] == [[0, tiny_pipeline.PROMPT], [SEGMENT, OTHER], [SEGMENT + 8, "two shapes"]]
    page.ask("go-on", prompt=page.take["text"], frames=SEGMENT)  # said already: it goes on as planned
    page.rested()
    assert len(page.take["prompts"]) == 3


def test_a_refused_video_stops_nothing(page: Page) -> None:
    page.begin(frames=None)
    assert "the prompt is empty" in page.begin(400, prompt=" ")
    assert "no model 'other'" in page.begin(400, model="other")
    assert "cannot read the time" in page.begin(400, prompt="a red circle [4 hours] | two shapes")
    assert "10000 denoising steps" in page.begin(400, steps=10_000)
    page.begin(422, seed=-1)
    assert "does not walk" in page.begin(400, maze=3)
    scene = page.scene
    assert scene["state"] == "making" and len(scene["takes"]) == 1
    page.ask("stop")


def test_a_second_video_of_one_prompt_is_another_unless_its_seed_is_given(page: Page) -> None:
    seeds = {page.begin(seed=None, frames=SEGMENT)["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert page.begin(seed=7, frames=SEGMENT)["seed"] == 7
    page.rested()
    assert page.take["seed"] == 7


def test_the_scene_is_told_when_it_changes(page: Page) -> None:
    page.made()
    with page.client.websocket_connect(f"/studio/{page.key}", headers=HERE) as socket:
        assert [take["number"] for take in socket.receive_json()["takes"]] == [1]
        page.ask("branch", frame=SEGMENT, prompt=tiny_pipeline.PROMPT, frames=SEGMENT)
        while socket.receive_json()["current"] != 2:
            pass
        page.rested()
        page.ask("choose", take=1)
        while socket.receive_json()["current"] != 1:
            pass
        socket.send_json({"type": "look", "frame": 3})
        socket.send_json({"type": "dance"})
        while "does not understand" not in socket.receive_json()["problem"]:
            pass
        assert page.studio.find(page.key).listeners.count == 1
    wait_until(lambda: page.studio.find(page.key).listeners.count == 0)


def test_a_second_tab_sees_what_the_first_does(page: Page) -> None:
    watch = page.client.websocket_connect
    with watch(f"/studio/{page.key}", headers=HERE) as one, watch(f"/studio/{page.key}", headers=HERE) as other:
        page.made()
        for socket in (one, other):
            while not (takes := socket.receive_json()["takes"]) or takes[0]["made"] < 2 * SEGMENT:
                pass


def test_an_unknown_visit_is_told_to_load_the_page_again(page: Page) -> None:
    with (
        page.client.websocket_connect("/studio/guess", headers=HERE) as socket,
        pytest.raises(WebSocketDisconnect) as ended,
    ):
        socket.receive_json()
    assert ended.value.code == 4404 and "load the page again" in (ended.value.reason or "")


def test_others_pages_and_those_without_the_token_stay_out(tmp_path: Path) -> None:
    with opened(tmp_path, "no visit", token="secret") as page:
        client = page.client
        assert client.get("/").status_code == 401
        assert client.get("/page/main.js").status_code == 401
        assert client.get("/", auth=("anyone", "secret")).status_code == 200
        assert client.get("/", auth=("anyone", "secret"), headers={"Host": "elsewhere.example"}).status_code == 403
        elsewhere = {"Origin": "http://elsewhere.example"}
        assert client.post("/studio/visits", auth=("anyone", "secret"), headers=elsewhere).status_code == 403


@pytest.mark.parametrize(("content", "about"), NO_USE)
def test_files_that_are_no_use_are_refused_as_the_server_refuses_them(
    tmp_path: Path, content: bytes, about: str
) -> None:
    limits = Limits(upload_bytes=2**20, upload_pixels=512 * 512, upload_decoded=2**22)
    with opened(tmp_path, limits=limits) as page:
        answer = page.client.put(f"/studio/{page.key}/first?model=tiny", content=content)
        assert answer.status_code == 400 and about in answer.json()["error"]["message"]
        assert "send the picture or video first" in page.begin(400, first=True)


def test_an_own_picture_or_film_begins_a_video(page: Page) -> None:
    for content in (picture(), film(12)):
        sent = page.client.put(f"/studio/{page.key}/first?model=tiny", content=content)
        assert sent.json()["frames"] >= 4
        page.made(first=True, frames=SEGMENT)
        assert page.take["made"] > SEGMENT and page.take["borders"][0] >= 4


def test_an_upload_that_is_too_large_is_cut_off(tmp_path: Path) -> None:
    with opened(tmp_path, limits=Limits(upload_bytes=1000)) as page:
        answer = page.client.put(f"/studio/{page.key}/first?model=tiny", content=bytes(2000))
        assert answer.status_code == 413 and "send less" in answer.json()["error"]["message"]


def test_what_fails_in_the_making_is_a_sentence_on_the_page(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ValueError("of which a visitor should hear little")

    monkeypatch.setattr(Take, "write", fail)
    page.begin()
    wait_until(lambda: page.scene["state"] == "resting")
    assert "could not be made (ValueError)" in page.scene["problem"]
