"""Laws of the studio's page, in a real browser, with the models that ship; run by `make test-browser`."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiny_browser import CHROMIUM, PATIENCE, Page, chromium, frames_of, running
from tiny_uploads import many_in_few

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; make test-browser installs it"),
]
CIRCLE, SQUARE = "a red circle passes behind a wall", "a blue square passes behind a wall"
# What can be touched, with its width and height, read at one moment: the page goes on drawing.
TARGETS = """() => [...document.querySelectorAll('button, a, select, summary, .toggle')]
    .filter((target) => target.checkVisibility({ visibilityProperty: true }))
    .map((target) => [target.textContent.trim(), target.getBoundingClientRect()])
    .map(([name, box]) => [name, box.width, box.height])
    .filter(([, width, height]) => width && height)"""
# What the message lies over, read while it is there.
UNDER = """(names) => {
    const box = document.getElementById('message').getBoundingClientRect();
    return names.filter((name) => {
        const other = document.getElementById(name).getBoundingClientRect();
        return box.top < other.bottom && other.top < box.bottom;
    });
}"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("studio")) as program:
        yield program.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Page]:
    opened = Page(browser, address)
    yield opened
    opened.close()


def test_a_video_grows_live_is_told_another_prompt_rewound_undone_branched_and_downloaded(page: Page) -> None:
    page.make(CIRCLE)
    page.until_seen(8)  # pictures come while it grows
    first = page.picture()
    assert first.std() > 10
    page.expect("#stop").to_be_enabled()
    page.until_seen(24)
    assert np.abs(page.picture() - first).mean() > 0.5  # and they move

    page.write(f"{SQUARE} [1s] | two shapes")
    page.press("#make")
    page.until_made(64)
    page.press("#stop")
    page.until_resting()
    made, prompts = page.made, page.take["prompts"]
    assert [text for _, text in prompts] == [CIRCLE, SQUARE, "two shapes"] and prompts[2][0] - prompts[1][0] == 16

    page.seek(39)
    page.expect("#rewind").to_have_text("Rewind to 2.0 s")
    page.press("#rewind")
    page.until("document.getElementById('timeline').getAttribute('aria-valuemax') === '32'")
    page.press("#undo")
    page.until_made(made)

    page.seek(20)
    page.write(SQUARE)
    page.press("#branch")
    page.until("document.querySelector('#about summary').textContent === 'Take 2'")
    page.until_made(48)
    page.press("#stop")
    page.until_resting()
    page.tab.get_by_label("All takes").check()
    page.until("document.querySelectorAll('#screens canvas').length === 2")
    page.expect("figcaption >> nth=1").to_contain_text("from take 1 at 1.0 s")
    page.keep("studio-branches")
    assert frames_of(page.download("#video")) == page.made
    assert page.hosts == {page.tab.url.split("/")[2]}  # nothing is fetched from elsewhere


def test_a_session_that_was_downloaded_goes_on_with_malt_resume(page: Page, tmp_path: Path) -> None:
    page.make(CIRCLE, "4")
    page.until_made(64)
    page.until_resting()
    with zipfile.ZipFile(io.BytesIO(page.download("#session"))) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "malt", "resume", str(tmp_path / "take-1.mp4"), "--frames", "80", "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True)
    assert frames_of((tmp_path / "take-1.mp4").read_bytes()) == 80


def test_the_empty_page_lives_and_an_example_is_made_at_a_click(page: Page) -> None:
    tiles = page.tab.locator("#welcome .tile")
    page.expect("#welcome .tile").to_have_count(6)
    before = tiles.nth(1).screenshot()
    assert any(tiles.nth(1).screenshot() != before for _ in range(200))  # it moves
    text = tiles.nth(1).inner_text()
    tiles.nth(1).dblclick()
    page.until_made(16)
    assert len(page.scene["takes"]) == 1
    page.expect("#prompt").to_have_value(text)
    assert page.take["text"] == text and page.take["seed"] == 1


def test_the_page_obeys_its_own_policy_and_asks_nobody_else(browser: Any, address: str) -> None:
    tab = browser.new_page(bypass_csp=False)
    tab.set_default_timeout(PATIENCE)
    said: list[str] = []
    hosts: set[str] = set()
    tab.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    tab.goto(address)
    tab.locator("#welcome .tile").first.click()
    tab.locator("#screens canvas[data-frame]").wait_for()
    assert said == [] and hosts == {address.split("/")[2]}
    tab.close()


def test_the_keyboard_alone_makes_stops_and_plays_a_video(page: Page) -> None:
    page.tab.focus("#prompt")
    page.tab.keyboard.type(CIRCLE)
    page.tab.keyboard.press("Enter")
    page.until_seen(1)
    page.tab.focus("#stop")
    page.tab.keyboard.press("Enter")
    page.until_resting()
    page.tab.focus("#stage")
    playing = page.tab.locator("#play").get_attribute("aria-label")
    page.tab.keyboard.press("Space")
    page.until(f"document.getElementById('play').getAttribute('aria-label') !== '{playing}'")
    page.tab.focus("#timeline")
    page.tab.keyboard.press("Home")
    page.tab.keyboard.press("Shift+ArrowRight")
    page.expect("#timeline").to_have_attribute("aria-valuenow", "16")
    page.tab.keyboard.press("ArrowLeft")
    page.expect("#timeline").to_have_attribute("aria-valuenow", "15")
    seen = set()
    page.tab.focus("#model")
    for _ in range(14):
        page.tab.keyboard.press("Tab")
        seen.add(page.tab.evaluate("document.activeElement.id"))
        outline = page.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid" or page.tab.evaluate("document.activeElement.type") == "checkbox"
    assert {"new", "stage", "play", "timeline", "prompt", "length", "make"} <= seen


def test_an_enter_before_the_model_is_known_is_done_when_it_is(browser: Any, address: str) -> None:
    context = browser.new_context(bypass_csp=True)
    held: list[Any] = []
    context.route("**/studio/models/*", lambda route: held.append(route))
    page = Page(browser, address, context)
    page.expect("#first").to_be_disabled()
    page.tab.focus("#prompt")
    page.tab.keyboard.type(CIRCLE)
    page.tab.keyboard.press("Enter")
    while not held:
        page.tab.wait_for_timeout(50)
    assert page.scene["takes"] == []
    held[0].continue_()
    page.until_seen(1)
    assert [take["text"] for take in page.scene["takes"]] == [CIRCLE]
    page.close()


def test_what_cannot_be_done_is_disabled_and_says_what_is_missing(page: Page) -> None:
    for name in ("make", "rewind", "branch", "undo", "redo", "play", "new"):
        page.expect(f"#{name}").to_be_disabled()
    page.write("a red zeppelin passes behind a wall")
    page.expect("#unknown").to_have_text("The model does not know zeppelin; it knows the words below.")
    page.write("a red circle [4s] | two shapes")
    page.expect("#unknown").to_be_hidden()
    page.expect("#make").to_be_enabled()
    page.write("a ")
    page.tab.get_by_role("button", name="cyan", exact=True).click()
    page.tab.get_by_role("button", name="cross", exact=True).click()
    page.expect("#prompt").to_have_value("a cyan cross")


def test_an_error_lies_over_nothing_and_leaves_by_itself(page: Page) -> None:
    page.make("a red circle [4 hours] | two shapes")
    page.until("document.getElementById('message').dataset.kind === 'problem'")
    page.expect("#message").to_contain_text("Cannot read the time")
    assert page.tab.evaluate(UNDER, ["prompt", "make", "timeline", "rewind"]) == []
    page.until("document.getElementById('message').textContent === ''")


@pytest.mark.parametrize(
    ("name", "data", "about"),
    [
        ("words.mp4", b"this is no film at all, whatever it is called", "neither a picture nor a video"),
        ("bomb.gif", many_in_few(30_000, (8, 8)), "lasts 3000 s"),
        ("broken.png", b"\x89PNG\r\n\x1a\n and then nothing", "is damaged"),
    ],
)
def test_what_cannot_be_begun_with_is_said_on_the_page(page: Page, name: str, data: bytes, about: str) -> None:
    page.expect("#first").to_be_enabled()  # once the model is known
    page.tab.locator("#first").set_input_files({"name": name, "mimeType": "video/mp4", "buffer": data})
    page.tab.get_by_text(about).first.wait_for()
    page.expect("#first-state").to_have_text("It cannot be used.")


def test_an_own_picture_begins_a_video(page: Page) -> None:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), (200, 30, 30)).save(file, "PNG")
    page.expect("#first").to_be_enabled()  # once the model is known
    page.tab.locator("#first").set_input_files({"name": "red.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.tab.get_by_text("begins with 4 frames of red.png").wait_for()
    page.make(CIRCLE, "4")
    page.until_made(16)
    page.seek(0)
    red, green, blue = page.picture().mean(axis=(0, 1))
    assert red > green + 60 and red > blue + 60


def test_a_memory_is_kept_recalled_and_forgotten_by_its_name(page: Page) -> None:
    page.make(CIRCLE, "4")
    page.until_made(32)
    page.press("#stop")
    page.press("#memory summary")
    page.expect("#keep").to_be_disabled()
    page.tab.fill("#name", "the yard")
    page.press("#keep")
    page.tab.get_by_role("button", name="Recall the yard").click()
    page.tab.get_by_text("Recalled").wait_for()
    page.tab.get_by_role("button", name="Forget the yard").click()
    page.until("document.querySelectorAll('#moments li').length === 0")


def test_the_arrow_keys_drive_and_the_lag_is_told(page: Page) -> None:
    page.choose("drive")
    page.press("#make")
    page.until_seen(1)
    page.tab.focus("#stage")
    page.tab.keyboard.down("ArrowLeft")
    page.expect("[data-way=left]").to_contain_class("held")
    page.until("Number(document.getElementById('lag').dataset.lag) > 0")
    page.keep("studio-drive")
    page.tab.keyboard.up("ArrowLeft")
    page.expect("#lag").to_contain_text("key to picture")
    page.press("#stop")
    page.until_resting()
    page.expect("[data-way=left]").to_be_disabled()


def test_a_walk_through_a_true_maze_has_its_map(page: Page) -> None:
    page.choose("maze")
    page.tab.locator("#welcome .tile").first.click()
    page.until_seen(20)
    page.tab.locator("#map canvas").wait_for(state="visible")
    page.expect("#map figcaption").to_contain_text("The true maze")
    page.tab.get_by_label("Map", exact=True).uncheck()
    page.tab.locator("#map").wait_for(state="hidden")
    assert page.take["maze"] is not None and all(border >= 48 for border in page.take["borders"])
    page.press("#stop")


def test_a_phone_shows_all_of_it_without_scrolling_sideways_and_every_target_is_large(
    browser: Any, address: str
) -> None:
    phone = Page(browser, address, **PHONE)
    for model in ("default", "drive"):
        phone.choose(model)
        phone.tab.locator("#welcome .tile").first.tap()
        phone.until_seen(2)
        assert phone.tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        targets = phone.tab.evaluate(TARGETS)
        assert len(targets) > 10 and [target for target in targets if min(target[1:]) < 43.5] == []
    lefts = phone.tab.locator("[data-way=left]").bounding_box()
    assert lefts["y"] + lefts["height"] < 844  # in reach without scrolling
    phone.press("#stop")
    phone.close()


def test_two_visitors_at_once_see_their_own_videos_and_a_second_tab_sees_the_first(browser: Any, address: str) -> None:
    one, other = Page(browser, address), Page(browser, address)
    one.make(CIRCLE, "4")
    other.make(SQUARE, "4")
    beside = Page(browser, address, one.context)
    for page in (one, other, beside):
        page.until_made(32)
    assert [page.take["text"] for page in (one, other, beside)] == [CIRCLE, SQUARE, CIRCLE]
    beside.press("#stop")
    one.until_resting()
    one.close()
    other.close()
