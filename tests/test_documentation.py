"""Laws of the project's pages: their code runs, their commands are understood, their links lead somewhere."""

import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import av
import pytest
import torch

import malt
import tiny_pipeline
from documentation import PAGES, PAST, ROOT, commands, links, name, python_blocks
from malt.cli import main
from malt.evaluation.registry import METRICS
from malt.memory.registry import KINDS
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.registry import ROLLOUTS
from tiny_server import served, service

README = ROOT / "README.md"
COMMANDS = [(page, words) for page in PAGES if page not in PAST for words in commands(page)]
SERVER, ADDRESS = ROOT / "docs" / "guide" / "server.md", "ws://127.0.0.1:8000"
WITH_CODE = [page for page in PAGES if python_blocks(page) and page != SERVER]
CHOICES: dict[str, list[str]] = {"--metrics": list(METRICS), "--rollouts": list(ROLLOUTS)}
MOST_BYTES, MOST_NUMBERS = 7000, 60


def a_tiny_model(model: str | Path | None = None) -> MaltPipeline:
    """Stands for the models that ship: as large a picture, and `drive` takes actions, but next to no weights."""
    vae = tiny_pipeline.autoencoder(frame_size=(64, 64))
    acts = {"action_dim": 2 * 4} if model == "drive" else {}  # two numbers a frame, four frames a latent frame
    return tiny_pipeline.pipeline(vae, {"action_names": ["steering", "throttle"]} if acts else None, **acts)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the project's own models where commands name them."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_the_code_on_a_page_runs(page: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (malt, import_module("malt.pipelines.loading")):
        monkeypatch.setattr(module, "load_pipeline", a_tiny_model, raising=False)
    namespace = {"__name__": "__page__"}  # one a page: what was defined above is used below
    with patch.dict(ROLLOUTS), patch.dict(KINDS):  # what a page registers goes again
        for code in python_blocks(page):
            exec(compile(code, str(page), "exec"), namespace)


def test_the_program_on_the_page_of_the_server_talks_to_it(elsewhere: Path) -> None:
    (code,) = [block for block in python_blocks(SERVER) if ADDRESS in block]
    with served(service(elsewhere / "data")) as address:
        exec(
            compile(code.replace(ADDRESS, address.replace("http", "ws")), str(SERVER), "exec"), {"__name__": "__page__"}
        )
    with av.open(str(elsewhere / "talk.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) > 128


@pytest.mark.slow
def test_the_code_of_the_readme_runs_with_the_model_that_ships() -> None:
    (code,) = python_blocks(README)
    namespace: dict[str, object] = {"__name__": "__page__"}
    exec(compile(code, str(README), "exec"), namespace)
    segment = namespace["segment"]
    assert torch.isfinite(segment.frames).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: name(value) if isinstance(value, Path) else value[0]
)
def test_a_command_on_a_page_is_understood(
    page: Path, words: list[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0].startswith("-") or "--help" in words:
        return
    if words[0] == "train" and "--resume" not in words:
        _lay_out_models(words)
        words = words if "--list-options" in words else [*words, "--list-options"]
    else:
        monkeypatch.setattr(
            getattr(import_module(f"malt.commands.{words[0]}"), f"{words[0].capitalize()}Command"),
            "run",
            lambda command: None,
        )
    assert main(words) == 0, capsys.readouterr().err


def _lay_out_models(words: list[str]) -> None:
    """A model in every folder to start from that only a run before would have written."""
    for folder in (Path(after) for word, after in pairwise(words) if word == "--start"):
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "model_index.json").write_text("{}")


def test_the_page_on_evaluation_names_the_metrics_and_rollouts_that_there_are() -> None:
    given = [dict(pairwise(words)) for words in commands(ROOT / "docs" / "guide" / "evaluate.md")]
    named = {
        option: {name for words in given for name in words.get(option, "").split(",")} - {""} for option in CHOICES
    }
    assert all(named[option] and named[option] <= set(choices) for option, choices in CHOICES.items())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = [link for link in links(page) if not (page.parent / link).exists()]
    assert not lost, f"{name(page)} links to what is not there: {lost}"


def test_the_readme_is_short() -> None:
    text = README.read_text()
    assert len(text.encode()) <= MOST_BYTES
    assert len(re.findall(r"\d+(?:[.,]\d+)*", text)) <= MOST_NUMBERS


def test_what_the_readme_makes_can_be_made_and_its_tests_are_those_of_the_continuous_integration() -> None:
    makefile, integration = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    made = set(re.findall(r"`make ([a-z-]+)`", README.read_text()))
    assert {"demo", "test", "docs"} <= made
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in made)
    assert re.search(r"^make test ", integration, re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name)
def test_a_page_speaks_of_what_is_and_not_of_who_wanted_it(page: Path) -> None:
    assert not re.findall(r"to reach \||\basked[: ]+\d|that were asked\b|the asked\b", page.read_text())


def test_python_versions_agree_everywhere() -> None:
    versions = set(re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    assert set(re.findall(r"3\.\d+", matrix)) == versions
    assert versions <= set(re.findall(r"3\.\d+", README.read_text()))


def test_the_citation_is_of_this_version() -> None:
    assert f"version: {malt.__version__}" in (ROOT / "CITATION.cff").read_text()
