"""Laws of what outlives the page and the studio: visits, takes, what was being made; and of what may be undone."""

import json
from pathlib import Path

import numpy as np
import pytest

import tiny_pipeline
from malt.serving.limits import Limits
from malt.sessions.storage import INDEX
from malt.studio.visit_record import RECORD, visit_folder
from tiny_server import wait_until
from tiny_studio import Page, opened
from tiny_uploads import picture

SEGMENT, PROMPT = tiny_pipeline.SEGMENT, tiny_pipeline.PROMPT
OTHER = "a blue square passes behind a wall"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def film(page: Page, number: int) -> bytes:
    content: bytes = page.get(f"{number}/video.mp4").content
    return content


def test_a_visit_is_the_same_in_the_next_studio_and_its_takes_go_on_exactly(data: Path) -> None:
    with opened(data) as page:
        page.made(prompt=f"{PROMPT} [1s] | {OTHER}", frames=3 * SEGMENT)
        page.ask("branch", frame=SEGMENT + 2, prompt=OTHER, frames=SEGMENT)
        page.rested().ask("memory", change="keep", name="the yard")
        before, films = page.scene, [film(page, number) for number in (1, 2)]
        page.ask("choose", take=1)
        page.ask("go-on", frames=2 * SEGMENT)
        unbroken = film(page.rested(), 1)
        page.ask("rewind", frame=3 * SEGMENT)
        page.ask("choose", take=2)
    with opened(data, page.key) as later:
        after = later.scene
        for scene in (before, after):
            del scene["resident"], scene["undo"]
            for take in scene["takes"]:
                del take["revision"], take["untouched"], take["memory"]
        assert after | {"followed": 0} == before | {"followed": 0}
        assert [film(later, number) for number in (1, 2)] == films
        later.ask("choose", take=1)
        later.ask("go-on", frames=2 * SEGMENT)
        assert film(later.rested(), 1) == unbroken


def test_what_was_being_made_goes_on_when_its_visitor_is_back(data: Path) -> None:
    with opened(data) as page:
        page.begin(frames=24 * SEGMENT)
        wait_until(lambda: page.take["made"] >= SEGMENT)
    with opened(data, page.key) as later:
        wait_until(lambda: later.rested() is later and later.take["made"] == 24 * SEGMENT)
    with opened(data, page.key) as last:
        assert last.scene["state"] == "resting"


def test_what_a_kill_leaves_behind_the_saved_session_is_cut_off(data: Path) -> None:
    with opened(data) as page:
        whole = film(page.made(frames=2 * SEGMENT), 1)
    video = visit_folder(data, page.key) / "take-1" / "video.mp4"
    video.write_bytes(whole + whole[-900:])
    with opened(data, page.key) as later:
        assert film(later, 1) == whole
        later.ask("go-on", frames=SEGMENT)
        assert later.rested().take["made"] == 3 * SEGMENT


def test_a_take_that_cannot_be_read_costs_itself_alone_and_is_left_where_it_is(data: Path) -> None:
    with opened(data) as page:
        page.made(frames=SEGMENT)
        page.made(frames=SEGMENT)
    index = visit_folder(data, page.key) / "take-1" / "video.session" / INDEX
    index.write_text(index.read_text()[:-40])
    for _ in range(2):
        with opened(data, page.key) as later:
            assert [take["number"] for take in later.scene["takes"]] == [2]
            assert "take 1 is left out" in later.scene["problem"]
            later.ask("stop")
    assert index.is_file()
    assert [take["number"] for take in json.loads((index.parents[2] / RECORD).read_text())["takes"]] == [2, 1]


@pytest.mark.parametrize("content", ["", "{", '{"takes": 3}', '{"takes": [], "what": [1]}'])
def test_a_damaged_record_costs_its_visit_alone(data: Path, content: str) -> None:
    with opened(data) as page:
        page.made(frames=SEGMENT)
        other = Page(page.client, page.studio).made(frames=SEGMENT)
    (visit_folder(data, page.key) / RECORD).write_text(content)
    with opened(data, other.key) as later:
        assert later.take["made"] == SEGMENT
        assert later.client.get(f"/studio/{page.key}").json()["takes"] == []


def test_rewinding_deleting_and_changes_of_memory_are_undone_and_done_again(data: Path) -> None:
    with opened(data) as page:
        whole = film(page.made(frames=4 * SEGMENT), 1)
        assert page.ask("rewind", frame=2 * SEGMENT + 1) == {"frame": 2 * SEGMENT}
        page.ask("go-on", prompt=OTHER, frames=SEGMENT)
        changed = film(page.rested(), 1)
        assert page.scene["undo"].startswith("rewind to")
        page.ask("undo")
        assert film(page, 1) == whole and page.take["made"] == 4 * SEGMENT
        page.ask("redo")
        assert film(page, 1) == changed and page.take["made"] == 3 * SEGMENT
        page.ask("undo")
        page.ask("memory", change="keep", name="here")
        assert page.scene["redo"] == ""
        page.ask("undo")
        assert page.take["moments"] == []
        page.ask("drop", take=1)
        assert page.scene["takes"] == []
        page.ask("undo")
        assert film(page, 1) == whole
        page.ask("go-on", frames=SEGMENT)
        assert page.rested().take["made"] == 5 * SEGMENT
        for _ in range(2):
            page.ask("undo", 400) if not page.scene["undo"] else page.ask("undo")


def test_undoing_to_before_the_first_frame_and_back_is_exact(data: Path) -> None:
    with opened(data) as page:
        whole = film(page.made(), 1)
        page.ask("rewind", frame=0)
        page.ask("undo")
        assert film(page, 1) == whole
        page.ask("redo")
        assert page.take["made"] == 0
        page.ask("go-on", frames=2 * SEGMENT)
        assert film(page.rested(), 1) == whole
        assert "nothing to do again" in page.ask("redo", 400)


def test_what_was_deleted_is_gone_from_the_disk_when_its_visitor_has_left(data: Path) -> None:
    with opened(data) as page:
        page.made(frames=SEGMENT)
        page.made(frames=SEGMENT)
        page.ask("drop", take=1)
        page.ask("rewind", frame=0)
        folder = visit_folder(data, page.key)
        assert (folder / "take-1").is_dir() and list((folder / "take-2").glob("undone-*"))
    assert not (folder / "take-1").exists() and not list((folder / "take-2").glob("undone-*"))


def test_visits_that_rest_too_long_or_take_too_much_room_are_deleted(data: Path) -> None:
    with opened(data) as page:
        page.made(frames=SEGMENT)
    with opened(data, page.key) as later:
        later.studio.sweep_disk()
        assert visit_folder(data, page.key).is_dir()
    for limits in (Limits(keep_seconds=1e-9), Limits(disk_bytes=1)):
        with opened(data, limits=limits) as other:
            awake = other.made(frames=SEGMENT)
            other.studio.sweep_disk()
            assert awake.take["made"] == SEGMENT and not visit_folder(data, page.key).exists()


def test_given_frames_cannot_be_rewound_into(data: Path) -> None:
    with opened(data) as page:
        page.client.put(f"/studio/{page.key}/first?model=tiny", content=picture())
        page.made(first=True, frames=SEGMENT)
        assert page.take["borders"][0] >= 4
        assert "asked to go back to frame 1;" in page.ask("rewind", 400, frame=1)


def test_the_map_of_a_walk_is_reckoned_from_what_was_done(data: Path) -> None:
    with opened(data) as page:
        page.made(model="walk", prompt="", frames=SEGMENT)
        found = page.get("1/map.json").json()
        assert found["plan"] is None and len(found["path"]) == page.take["made"]
        assert np.allclose(found["path"], 0)  # nobody moved
        assert page.get("1/map.json?start=5").json()["path"] == found["path"][5:]
        page.made(frames=SEGMENT)
        page.get("2/map.json", 404)
