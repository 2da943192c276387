"""The project's pages, their code and the commands that they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages of the past: they show what was typed in its time.
PAST = {ROOT / "docs" / "log.md", ROOT / "docs" / "changelog.md"}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^(?: {4}.*|)\n)+", re.MULTILINE)
RUNS = re.compile(r"(?:MALT_TOKEN=\S+ |torchrun .*?-m )?malt ")


def name(page: Path) -> str:
    """How a page is called in a test's name."""
    return str(page.relative_to(ROOT))


def python_blocks(page: Path) -> list[str]:
    """The Python code on a page."""
    found = FENCE.findall(page.read_text())
    return [code for language, code in found if language == "python" and not code.startswith("--8<--")]


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind `malt` of every command on a page, but for those with a recipe that is to be filled in."""
    text = page.read_text()
    shown = [code for language, code in FENCE.findall(text) if language == "bash"]
    shown += INDENTED.findall(FENCE.sub("", text))
    for line in "".join(shown).replace("\\\n", " ").splitlines():
        found = RUNS.match(line.strip())
        if found and "RECIPE" not in line:
            yield shlex.split(line.strip()[found.end() :], comments=True)


def links(page: Path) -> list[str]:
    """What a page links to or shows, within the project."""
    prose = FENCE.sub("", page.read_text())
    found = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'src="([^"]+)"', prose)
    return [link.partition("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)]
