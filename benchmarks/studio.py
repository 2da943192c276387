"""How long a visitor of the studio waits for the first picture, in a real browser.

    python benchmarks/studio.py [--threads 2] [--runs 5] [--out docs/results/studio.json]

The studio runs in a process of its own, as `malt studio` starts it; one video warms it up. What is timed is from the
press of "New video" to the first frame of that video on the page's canvas, by the browser's own clock. The browser
computes on the same machine.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from results import say, write

PRESS = """() => new Promise((done) => {
  const button = [...document.querySelectorAll('button')].find((each) => each.textContent.trim() === 'New video');
  const began = performance.now(), before = document.querySelector('figure.current')?.dataset.take;
  const look = () => {
    const figure = document.querySelector('figure.current');
    const seen = figure && figure.dataset.take !== before && figure.querySelector('canvas').dataset.frame !== undefined;
    if (seen) done((performance.now() - began) / 1000); else requestAnimationFrame(look);
  };
  button.click();
  look();
})"""


def first_pictures(page: Page, runs: int) -> list[float]:
    """Seconds of so many videos, each stopped and deleted again; the first, which warms up, is not among them."""
    seconds = []
    for _ in range(runs + 1):
        seconds.append(page.evaluate(PRESS))
        page.get_by_role("button", name="Stop", exact=True).click()
        page.wait_for_function("document.querySelector('.status').dataset.state === 'resting'")
        page.locator(".drop").click()
        page.wait_for_function("document.querySelector('figure.current') === null")
    return seconds[1:]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/studio.json"))
    options = parser.parse_args()
    command = [sys.executable, "-m", "malt", "studio", "--port", "0", "--threads", str(options.threads)]
    studio = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert studio.stderr is not None
        address = next(found[1] for line in studio.stderr if (found := re.search(r"open at (http://\S+)", line)))
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            page.wait_for_selector("#screen .status")
            page.wait_for_timeout(2000)
            runs = first_pictures(page, options.runs)
            browser.close()
    finally:
        studio.terminate()
        studio.wait(60)
    figures = {"seconds": runs, "median": statistics.median(runs), "most": max(runs)}
    write(options.out, {"first_picture": say("first picture", figures), "threads": options.threads})


if __name__ == "__main__":
    main()
