"""Laws of a visit in a real browser: it survives a reload, a cut of the network, and a restart of the studio."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiny_browser import CHROMIUM, Page, Program, chromium, frames_of, running
from tiny_proxy import line_to

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; make test-browser installs it"),
]
CIRCLE = "a red circle passes behind a wall"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with running(tmp_path_factory.mktemp("studio")) as started:
        yield started


def test_a_reload_keeps_the_takes_the_place_and_what_is_being_made(browser: Any, program: Program) -> None:
    page = Page(browser, program.address)
    page.make(CIRCLE)
    page.until_seen(10)
    before = page.made
    page.tab.reload()
    page.linked()
    page.until_made(before + 16)
    page.expect("#stop").to_be_enabled()
    page.expect("#prompt").to_have_value(CIRCLE)
    assert int(page.tab.evaluate("sessionStorage.getItem('malt-at')")) >= 8
    page.press("#stop")
    page.close()


def test_a_cut_of_the_network_is_told_and_mended_and_costs_nothing(browser: Any, program: Program) -> None:
    with line_to(program.port) as line:
        page = Page(browser, line.address)
        page.make(CIRCLE)
        page.until_made(16)
        line.cut()
        page.until("document.body.dataset.link === 'gone'")
        page.expect("#link").to_contain_text("What was made is safe")
        page.expect("#stop").to_be_disabled()
        line.mend()
        page.linked()
        page.until_made(48)
        page.expect("#link").to_have_text("")
        page.press("#stop")
        page.until_resting()
        page.close()


def test_an_example_cannot_be_begun_while_the_studio_is_out_of_reach(browser: Any, program: Program) -> None:
    with line_to(program.port) as line:
        page = Page(browser, line.address)
        tile = "#welcome .tile >> nth=0"
        page.expect(tile).to_be_enabled()
        line.cut()
        page.until("document.body.dataset.link === 'gone'")
        page.expect(tile).to_be_disabled()
        line.mend()
        page.press(tile)  # waits until it can be
        page.until_made(16)
        page.press("#stop")
        page.until_resting()
        page.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_studio_keeps_all_that_was_made(browser: Any, tmp_path: Path, how: signal.Signals) -> None:
    with running(tmp_path) as program:
        page = Page(browser, program.address)
        page.make(CIRCLE, "4")
        page.until_made(64)
        page.until_resting()
        film, takes = page.download("#video"), page.scene["takes"]
        program.end(how)
        page.until("document.body.dataset.link === 'gone'")
        program.start()
        page.linked()
        assert page.download("#video") == film and frames_of(film) == 64
        assert page.scene["takes"][0]["prompts"] == takes[0]["prompts"]
        page.press("#make")  # make more
        page.until_made(80)
        page.press("#stop")
        page.close()
