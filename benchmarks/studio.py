"""What a visitor of the studio waits for, in a real browser, and what their visit survives.

    python benchmarks/studio.py [--threads N] [--runs 5] [--visits 20] [--parts load,first,keys,visits]
                                [--out docs/results/studio.json]

The studio runs in a process of its own, as `malt studio` starts it; the browser computes on the same machine and measures by
its own clock. Load: from the request of the page, nothing cached, until its clips play. First: from the press of "Make video"
to the first frame of that video, a second after the page was there. Keys: from an arrow key to the first frame that follows
it. Visits: each has a video, and is reloaded, cut off from the network for half a minute, and left alone while the studio is
ended and started again; a visit has survived where its video is then the same, byte for byte, and grows at a press. How busy
the machine was is noted; beside the seconds of a key stand those that the studio computed meanwhile, which do not depend on
that.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import say, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny_browser import Page, Program, chromium, running
from tiny_proxy import line_to

PROMPT = "a red circle passes behind a wall"
CUT_SECONDS = 30
AT_ONCE = 7  # visits
LOADED = """async () => {
  while (!document.querySelector('#welcome .tile canvas')?.shown) await new Promise(requestAnimationFrame);
  const scripts = performance.getEntriesByType('resource').filter((each) => /\\.js$/.test(each.name));
  const paint = performance.getEntriesByName('first-contentful-paint')[0]?.startTime;
  return {ready: performance.now() / 1000, paint: paint / 1000, scripts: scripts.map((each) => each.decodedBodySize)};
}"""
FIRST = """async () => {
  const frame = () => document.querySelector('#screens figure.current canvas')?.dataset.frame;
  const began = performance.now();
  document.getElementById('make').click();
  while (frame() === undefined) await new Promise(requestAnimationFrame);
  return (performance.now() - began) / 1000;
}"""


def spread(seconds: list[float]) -> dict[str, Any]:
    """The figures of repeated measurements."""
    rounded = [round(each, 3) for each in seconds]
    return {"median": statistics.median(rounded), "least": min(rounded), "most": max(rounded), "seconds": rounded}


def load(browser: Any, address: str, runs: int) -> dict[str, Any]:
    """How soon the page is there, and how large its scripts are."""
    found = []
    for _ in range(runs + 1):
        page = Page(browser, address)
        found.append(page.tab.evaluate(LOADED))
        page.close()
    scripts = found[-1]["scripts"]
    return {
        "ready": spread([each["ready"] for each in found[1:]]),
        "first_paint": spread([each["paint"] for each in found[1:]]),
        "script_bytes": {"biggest": max(scripts), "all": sum(scripts), "count": len(scripts)},
    }


def first_pictures(browser: Any, address: str, runs: int) -> dict[str, Any]:
    """How soon a new video is seen; the first, which warms up, is not among them."""
    seconds = []
    for _ in range(runs + 1):
        page = Page(browser, address)
        page.write(PROMPT)
        page.until("!document.getElementById('make').disabled")
        page.tab.wait_for_timeout(1000)  # nobody presses while the clips are still being unpacked
        seconds.append(page.tab.evaluate(FIRST))
        page.press("#stop")
        page.close()
    return spread(seconds[1:])


def keys(browser: Any, program: Program, model: str, runs: int) -> dict[str, Any]:
    """How soon a key is followed; every press is held until it is, and let go of for as long."""
    page = Page(browser, program.address)
    page.choose(model)
    if model == "maze":
        page.tab.select_option("#maze", "")
    page.press("#make")
    page.until_seen(20)
    page.tab.focus("#stage")
    lags, computed = [], []
    for run in range(2 * runs + 2):
        key, began = ("ArrowLeft", "ArrowRight")[run // 2 % 2], program.cpu_seconds
        before = page.tab.locator("#lag").get_attribute("data-number") or ""
        (page.tab.keyboard.up if run % 2 else page.tab.keyboard.down)(key)
        page.until(f"(document.getElementById('lag').dataset.number ?? '') !== '{before}'")
        computed.append(program.cpu_seconds - began)
        lags.append(int(page.tab.locator("#lag").get_attribute("data-lag") or 0) / 1000)
        page.tab.wait_for_timeout(700)
    page.press("#stop")
    page.close()
    return spread(lags[2:]) | {"computed": spread(computed[2:])}


def visits(browser: Any, folder: Path, options: list[str], count: int) -> dict[str, Any]:
    """How many of so many visits survive a reload, a cut of the network, and a restart; a few are there at a time."""
    total = dict.fromkeys(("visits", "reload", "cut", "restart", "grows_on"), 0)
    for begun in range(0, count, AT_ONCE):
        group = surviving(browser, folder / str(begun), options, min(AT_ONCE, count - begun))
        total = {name: total[name] + group[name] for name in total}
        say("so far", total)
    return total | {"cut_seconds": CUT_SECONDS}


def surviving(browser: Any, data: Path, options: list[str], count: int) -> dict[str, int]:
    """How many of a few visits survive."""
    with running(data, *options) as program, line_to(program.port) as line:
        pages = [Page(browser, line.address) for _ in range(count)]
        for page in pages:
            page.make(PROMPT, "4")
        for page in pages:
            page.until_made(64)
            page.until_resting()
        films = [page.download("#video") for page in pages]
        survived = dict.fromkeys(("reload", "cut", "restart"), 0)
        for page in pages:
            page.tab.reload()
        survived["reload"] = sum(_is_whole(page, film) for page, film in zip(pages, films, strict=True))
        line.cut()
        pages[0].tab.wait_for_timeout(1000 * CUT_SECONDS)
        line.mend()
        survived["cut"] = sum(_is_whole(page, film) for page, film in zip(pages, films, strict=True))
        program.end()
        program.start()
        survived["restart"] = sum(_is_whole(page, film) for page, film in zip(pages, films, strict=True))
        grown = 0
        for page in pages:
            page.press("#make")
            page.until_made(80)
            page.press("#stop")
            grown += 1
            page.close()
    return {"visits": count, **survived, "grows_on": grown}


def _is_whole(page: Page, film: bytes) -> bool:
    page.linked()
    page.until_made(64)
    return page.download("#video") == film


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, help="as many as the studio takes by itself if not given")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--parts", default="load,first,keys,visits")
    parser.add_argument("--out", type=Path, default=Path("docs/results/studio.json"))
    options = parser.parse_args()
    parts, figures = options.parts.split(","), dict[str, Any]()
    started = ["--model", "default"] + (["--threads", str(options.threads)] if options.threads else [])
    figures["load_before"] = round(os.getloadavg()[0], 1)
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        if set(parts) & {"load", "first", "keys"}:
            with running(Path(folder) / "one", *started) as program:
                if "load" in parts:
                    figures["load"] = say("load", load(browser, program.address, options.runs))
                if "first" in parts:
                    figures["first_picture"] = say("first", first_pictures(browser, program.address, options.runs))
                for model in ("drive", "maze") if "keys" in parts else ():
                    figures[f"keys_{model}"] = say(model, keys(browser, program, model, options.runs))
        if "visits" in parts:
            figures["visits"] = say("visits", visits(browser, Path(folder) / "two", started, options.visits))
    figures |= {"load_after": round(os.getloadavg()[0], 1), "threads": options.threads}
    write(options.out, figures)


if __name__ == "__main__":
    main()
