"""The studio as its users have it: a program of its own, and its page in a real browser."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = os.environ.get("MALT_SCREENSHOTS")  # a folder for pictures of the page
PATIENCE = 120_000  # milliseconds: machines that test may be slow


class Program:
    """`malt studio` on a port and a folder of its own, which can be ended and started again."""

    def __init__(self, data: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [sys.executable, "-m", "malt", "studio", "--port", str(self.port), "--data", str(data)]
        self._command += options or ("--threads", "1", "--model", "teacher")  # slow enough to be interrupted
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if re.search(r"open at (http://\S+)", line):
                return
        raise AssertionError("the studio did not open: " + "".join(lines))

    @property
    def cpu_seconds(self) -> float:
        """What it has computed so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def end(self, how: int = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        self._process.wait(120)


@contextmanager
def running(data: Path, *options: str) -> Iterator[Program]:
    program = Program(data, *options)
    try:
        yield program
    finally:
        program.end()


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Page:
    """The page as a visitor uses it; `context` for a tab beside others of the same browser."""

    def __init__(self, browser: Any, address: str, context: Any = None, **settings: Any) -> None:
        desk = {"viewport": {"width": 1440, "height": 900}, "bypass_csp": True}  # conditions are waited for by a script
        self.context = context or browser.new_context(**desk | settings)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.tab.goto(address)
        self.linked()

    def linked(self) -> None:
        self.until("document.body.dataset.link === 'there'")

    def until(self, condition: str) -> None:
        self.tab.wait_for_function(condition, timeout=PATIENCE)

    def expect(self, selector: str) -> Any:
        """What has to become true of an element, however slow the machine is."""
        from playwright.sync_api import expect

        return expect(self.tab.locator(selector))

    def press(self, selector: str) -> None:
        self.tab.locator(selector).click()

    def write(self, prompt: str) -> None:
        self.tab.fill("#prompt", prompt)

    def choose(self, model: str) -> None:
        self.tab.select_option("#model", model)
        self.until("document.querySelector('#welcome .tile') !== null")

    def make(self, prompt: str, length: str = "16") -> None:
        self.write(prompt)
        self.tab.select_option("#length", length)
        self.press("#make")

    @property
    def scene(self) -> Any:
        """What the studio tells of the visit."""
        asked = "(key) => fetch(`/studio/${localStorage.getItem('malt-visit')}`).then((answer) => answer.json())"
        return self.tab.evaluate(asked)

    @property
    def take(self) -> Any:
        scene = self.scene
        return next(take for take in scene["takes"] if take["number"] == scene["current"])

    @property
    def made(self) -> int:
        return int(self.tab.locator("#timeline").get_attribute("aria-valuemax") or 0)

    @property
    def fact(self) -> str:
        return str(self.tab.locator("#facts dd").first.inner_text())

    def until_made(self, frames: int) -> None:
        self.until(f"Number(document.getElementById('timeline').getAttribute('aria-valuemax')) >= {frames}")

    def until_resting(self) -> None:
        self.until("document.getElementById('stop').disabled")

    def until_seen(self, frame: int) -> None:
        self.until(f"Number(document.querySelector('#screens figure.current canvas')?.dataset.frame) >= {frame}")

    def seek(self, frame: int) -> None:
        """Go to a frame by the timeline's keys."""
        self.tab.focus("#timeline")
        self.tab.keyboard.press("Home")
        for _ in range(frame):
            self.tab.keyboard.press("ArrowRight")
        self.until(f"document.querySelector('#screens figure.current canvas').dataset.frame === '{frame}'")

    def picture(self) -> np.ndarray:
        """What the canvas of the current take shows."""
        png = self.tab.locator("#screens figure.current canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)

    def download(self, selector: str) -> bytes:
        with self.tab.expect_download() as download:
            self.press(selector)
        return Path(download.value.path()).read_bytes()

    def keep(self, name: str) -> None:
        if PICTURES:
            self.tab.screenshot(path=str(Path(PICTURES) / f"{name}.png"))

    def close(self) -> None:
        assert self.errors == []
        self.context.close()


def frames_of(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return sum(1 for _ in container.decode(video=0))
