"""Laws of the studio's page, in a real browser, with the models that ship; run by `make test-browser`."""

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tiny_uploads import film, many_in_few

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = os.environ.get("MALT_SCREENSHOTS")  # a folder for pictures of the page
PATIENCE = 60_000  # milliseconds: machines that test may be slow

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; make test-browser installs it"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio as a user starts it, in a process of its own."""
    folder = tmp_path_factory.mktemp("studio")
    command = [sys.executable, "-m", "malt", "studio", "--port", "0", "--data", str(folder), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"open at (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail("the studio did not open: " + "".join(lines))
    finally:
        process.terminate()
        process.wait(60)
    assert list(folder.iterdir()) == []  # what visitors made is gone with the studio


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Page:
    """The page as a visitor uses it."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.tab = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | settings)
        self.tab.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.tab.goto(address)
        self.tab.wait_for_function("window.maltFrame !== undefined")
        self.until("document.querySelector('#screen .status')?.dataset.visit === 'begun'")

    def until(self, condition: str) -> None:
        self.tab.wait_for_function(condition, timeout=PATIENCE)

    def press(self, name: str) -> None:
        self.tab.get_by_role("button", name=name, exact=True).click()

    def write(self, prompt: str) -> None:
        self.tab.locator("#prompt input").fill(prompt)

    @property
    def made(self) -> int:
        return int(self.tab.locator(".status").get_attribute("data-made") or 0)

    def until_made(self, frames: int) -> None:
        self.until(f"Number(document.querySelector('.status').dataset.made) >= {frames}")

    def until_resting(self) -> None:
        self.until("document.querySelector('.status').dataset.state === 'resting'")

    def until_seen(self, frame: int) -> None:
        self.until(f"Number(document.querySelector('figure.current canvas')?.dataset.frame) >= {frame}")

    def seek(self, frame: int) -> None:
        self.tab.locator(".timeline").fill(str(frame))

    def picture(self) -> np.ndarray:
        """What the canvas of the current take shows."""
        png = self.tab.locator("figure.current canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)

    def keep(self, name: str) -> None:
        if PICTURES:
            self.tab.screenshot(path=str(Path(PICTURES) / f"{name}.png"))

    def close(self) -> None:
        assert self.errors == []
        self.tab.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Page]:
    opened = Page(browser, address)
    yield opened
    opened.close()


def frames_of(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_grows_live_is_told_another_prompt_rewound_branched_compared_and_downloaded(page: Page) -> None:
    page.write("a red circle passes behind a wall")
    page.press("New video")
    page.until_seen(20)  # pictures come while it grows
    first = page.picture()
    assert first.std() > 10
    assert page.tab.locator(".status").get_attribute("data-state") == "making"
    assert "frames/s" in page.tab.locator(".status").inner_text()
    assert "memory" in page.tab.locator(".status").inner_text()
    page.until_seen(40)
    assert np.abs(page.picture() - first).mean() > 0.5  # and they move
    page.keep("studio-growing")

    page.write("a blue square passes behind a wall")
    page.press("Go on with this prompt")
    page.until("document.querySelectorAll('.said li').length === 2")
    switched = page.made
    page.until_made(switched + 32)
    page.press("Stop")
    page.until_resting()
    made = page.made

    page.seek(40)
    page.until("document.querySelector('figure.current canvas').dataset.frame === '40'")
    then = page.picture()
    page.press("Rewind to here")
    page.until("Number(document.querySelector('.status').dataset.made) <= 40")
    assert 24 <= page.made <= 40 < made
    page.press("Go on with this prompt")
    page.until_made(48)
    page.press("Stop")
    page.until_resting()
    page.seek(20)
    page.until("document.querySelector('figure.current canvas').dataset.frame === '20'")
    assert np.abs(then - page.picture()).mean() > 0.5

    page.press("Branch from here")
    page.until("document.querySelector('.status').textContent.startsWith('Take 2')")
    page.until_made(48)
    page.press("Stop")
    page.until_resting()
    page.tab.get_by_label("takes side by side").check()
    page.until("document.querySelectorAll('figure canvas').length === 2")
    page.until("[...document.querySelectorAll('figure canvas')].every((c) => c.dataset.frame)")
    assert "from take 1 at 1.0 s" in page.tab.locator("figcaption").nth(1).inner_text()
    page.tab.wait_for_timeout(500)
    page.keep("studio-branches")

    with page.tab.expect_download() as video:
        page.tab.get_by_role("link", name="Download video").click()
    assert frames_of(Path(video.value.path()).read_bytes()) == page.made
    assert page.hosts == {page.tab.url.split("/")[2]}  # nothing is fetched from elsewhere


def test_a_session_that_was_downloaded_goes_on_with_malt_resume(page: Page, tmp_path: Path) -> None:
    page.tab.get_by_label("4 s", exact=True).check()
    page.press("New video")
    page.until_made(64)
    page.until_resting()
    with page.tab.expect_download() as session:
        page.tab.get_by_role("link", name="Download session").click()
    with zipfile.ZipFile(session.value.path()) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "malt", "resume", str(tmp_path / "take-1.mp4"), "--frames", "96", "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True)
    assert frames_of((tmp_path / "take-1.mp4").read_bytes()) == 96


def test_the_keyboard_alone_makes_stops_and_plays_a_video(page: Page) -> None:
    page.tab.locator("#prompt input").focus()
    page.tab.keyboard.press("Enter")
    page.until_seen(1)
    page.tab.get_by_role("button", name="Stop", exact=True).focus()
    page.tab.keyboard.press("Enter")
    page.until_resting()
    page.tab.locator(".stage").focus()
    playing = page.tab.locator(".play").get_attribute("aria-label")
    page.tab.keyboard.press("Space")
    assert page.tab.locator(".play").get_attribute("aria-label") != playing
    page.tab.locator(".timeline").focus()
    before = int(page.tab.locator(".timeline").input_value())
    page.tab.keyboard.press("ArrowLeft" if before else "ArrowRight")
    assert abs(int(page.tab.locator(".timeline").input_value()) - before) == 1


@pytest.mark.parametrize(
    ("name", "data", "about"),
    [
        ("empty.mp4", b"", "is empty"),
        ("words.mp4", b"this is no film at all, whatever it is called", "neither a picture nor a video"),
        ("long.mp4", film(2, seconds_between=36_000), "lasts 36000 s"),
        ("bomb.gif", many_in_few(30_000, (8, 8)), "lasts 3000 s"),
        ("broken.png", b"\x89PNG\r\n\x1a\n and then nothing", "is damaged"),
    ],
)
def test_what_cannot_be_begun_with_is_said_on_the_page(page: Page, name: str, data: bytes, about: str) -> None:
    page.tab.get_by_text("Begin with an own picture or video").click()
    page.tab.locator("#first input[type=file]").set_input_files({"name": name, "mimeType": "video/mp4", "buffer": data})
    page.tab.locator("#first").get_by_text(name.split(".")[0]).first.wait_for()
    page.press("New video")
    page.tab.get_by_text(about).first.wait_for()
    assert page.made == 0


def test_an_own_picture_begins_a_video(page: Page) -> None:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), (200, 30, 30)).save(file, "PNG")
    page.tab.get_by_text("Begin with an own picture or video").click()
    page.tab.locator("#first input[type=file]").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.tab.locator("#first").get_by_text("red").first.wait_for()
    page.tab.get_by_label("4 s", exact=True).check()
    page.press("New video")
    page.until_made(16)
    page.tab.get_by_role("button", name="Pause").click()
    page.seek(0)
    page.until("document.querySelector('figure.current canvas').dataset.frame === '0'")
    red, green, blue = page.picture().mean(axis=(0, 1))
    assert red > green + 60 and red > blue + 60


def test_an_empty_prompt_is_said_on_the_page_and_a_word_that_is_not_known_is_warned_of(page: Page) -> None:
    page.write(" ")
    page.press("New video")
    page.tab.get_by_text("the prompt is empty").first.wait_for()
    page.write("a red zeppelin passes behind a wall")
    page.press("New video")
    page.tab.get_by_text("does not know zeppelin").first.wait_for()


def test_the_arrow_keys_steer_a_model_that_acts(page: Page) -> None:
    page.tab.get_by_text("Model and settings").click()
    page.tab.get_by_label("Model", exact=True).click()
    page.tab.get_by_role("option", name="drive").click()
    page.tab.get_by_label("until stopped").check()
    page.press("New video")
    page.until_seen(1)
    page.tab.locator(".wheel").wait_for(state="visible")
    page.tab.locator(".stage").focus()
    page.tab.keyboard.down("ArrowLeft")
    page.until_seen(page.made + 40)
    page.tab.keyboard.up("ArrowLeft")
    page.keep("studio-drive")
    ahead = page.tab.evaluate("Number(document.querySelector('.status').dataset.made) - window.maltFrame()")
    assert ahead < 80  # it waits for what is seen: otherwise nobody could steer it
    page.press("Stop")
    page.until_resting()


def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser: Any, address: str) -> None:
    phone = Page(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone.tab.get_by_role("button", name="New video").tap()
    phone.until_seen(8)
    assert phone.tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.tab.evaluate("window.scrollTo(0, 0)")
    phone.keep("studio-phone")
    phone.close()


def test_two_visitors_at_once_see_their_own_videos(browser: Any, address: str) -> None:
    one, other = Page(browser, address), Page(browser, address)
    one.write("a red circle passes behind a wall")
    other.write("a blue square passes behind a wall")
    one.press("New video")
    other.press("New video")
    one.until_made(32)
    other.until_made(32)
    assert "red circle" in one.tab.locator(".said").inner_text()
    assert "blue square" in other.tab.locator(".said").inner_text()
    one.close()
    other.until_made(64)
    other.close()
