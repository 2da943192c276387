"""Laws of the token in a real browser: signed in once, the page, its frames, its sockets and its videos are let in."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = os.environ.get("MALT_SCREENSHOTS")  # a folder for pictures of the page
PATIENCE = 60_000  # milliseconds: machines that test may be slow

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; make test-browser installs it"),
]

TOKEN = "a long random token"
VIDEO = """async () => {
  const video = document.createElement('video');
  video.muted = true;
  video.src = '/v1/stream?prompt=a%20red%20circle&num_frames=32';
  document.body.append(video);
  await new Promise((done, failed) => { video.onloadeddata = done; video.onerror = () => failed(video.error.message); });
  return video.videoWidth;
}"""
SOCKET = """() => new Promise((done, failed) => {
  const socket = new WebSocket('ws://' + location.host + '/v1/realtime/video');
  socket.onopen = () => socket.send(JSON.stringify({type: 'ping'}));
  socket.onmessage = (event) => done(JSON.parse(event.data).type);
  socket.onclose = (event) => failed('closed: ' + event.reason);
})"""
FRAME = """() => new Promise((done) => {
  const frame = document.createElement('iframe');
  frame.src = '/docs';
  frame.onload = () => done(frame.contentDocument.querySelector('h1').textContent);
  document.body.append(frame);
})"""


@pytest.fixture(scope="module", params=["serve", "studio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A program as a user starts it, with a token; its verb and its address."""
    folder = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, "-m", "malt", request.param, "--port", "0", "--data", str(folder), "--threads", "1"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "MALT_TOKEN": TOKEN + "\n"}
    )
    try:
        assert process.stderr is not None
        found = next(found for line in process.stderr if (found := re.search(r" at (http://[^\s)]+)", line)))
        yield request.param, found[1]
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def tab(server: tuple[str, str]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.goto(server[1])
        yield page
        browser.close()


def sign_in(tab: Any, token: str) -> None:
    tab.get_by_label("token").fill(token)
    tab.get_by_role("button", name="Sign in").click()


def test_a_browser_signs_in_once_and_is_let_in_everywhere(tab: Any, server: tuple[str, str]) -> None:
    if PICTURES:
        tab.screenshot(path=str(Path(PICTURES) / "sign-in.png"))
    sign_in(tab, "wrong")
    tab.get_by_text("That is not the token.").wait_for()
    sign_in(tab, TOKEN)
    if server[0] == "studio":
        tab.locator("body[data-link=there]").wait_for()
        tab.locator("#welcome .tile").first.wait_for()
        return
    tab.get_by_role("heading", name="malt").wait_for()
    if PICTURES:
        tab.screenshot(path=str(Path(PICTURES) / "docs.png"))
    assert tab.evaluate(SOCKET) == "pong"
    assert tab.evaluate(FRAME).startswith("malt")
    assert tab.evaluate(VIDEO) > 0
    tab.reload()
    tab.get_by_role("heading", name="malt").wait_for()


def test_without_the_token_sockets_and_videos_stay_out(tab: Any, server: tuple[str, str]) -> None:
    if server[0] == "serve":
        # A socket that the sign-in page's own policy holds back tells nothing at all.
        waits = "new Promise((done) => setTimeout(done, 10_000, 'silent'))"
        assert tab.evaluate(f"() => Promise.race([({SOCKET})().catch(() => 'closed'), {waits}])") != "pong"
        asked = "fetch('/v1/videos').then((answer) => answer.status, () => 'refused')"
        assert tab.evaluate(f"() => Promise.race([{asked}, {waits}])") in (401, "refused")
