"""Laws of `malt keep`, `recall` and `forget`: a hand on the memory of a video, from the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_pipeline
from malt.cli import main
from malt.pipelines.loading import load_pipeline
from malt.sessions.session import Session
from tiny_pipeline import SEGMENT

Run = Callable[..., int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline.pipeline(settings={"num_inference_steps": 1}, memory="hierarchical").save_pretrained(folder)
    return folder


@pytest.fixture
def run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, where a video of three segments is."""
    monkeypatch.chdir(tmp_path)

    def run_it(verb: str, *options: object) -> int:
        return main([verb, *map(str, options), "--device", "cpu", "--threads", "1"])

    assert run_it("generate", "a red circle", "--checkpoint", model, "--frames", 3 * SEGMENT, "--out", "walk.mp4") == 0
    return run_it


def session(model: Path) -> Session:
    return Session.load(Path("walk.session"), load_pipeline(model))


def test_what_is_kept_is_recalled_gone_on_with_and_forgotten(
    run: Run, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keep", "walk.mp4", "the yard", "--at", SEGMENT) == 0
    assert "'the yard' is kept of walk.mp4 at frame 8" in capsys.readouterr().err
    assert main(["inspect", "walk.mp4"]) == 0
    assert "kept       'the yard', frame 8" in capsys.readouterr().out
    assert run("rewind", "walk.mp4", "--to", 2 * SEGMENT) == 0
    assert run("recall", "walk.mp4", "the yard") == 0
    recalled = session(model)
    assert recalled.state.now.progress.memory[0].tokens.equal(
        recalled.kept["the yard"].snapshot.progress.memory[0].tokens
    )
    assert run("resume", "walk.mp4", "--frames", 4 * SEGMENT) == 0
    assert run("branch", "walk.mp4", "--at", 3 * SEGMENT, "--out", "other.mp4", "--seed", 7) == 0
    assert run("forget", "walk.mp4", "the yard") == 0
    assert "walk.mp4 has forgotten 'the yard'" in capsys.readouterr().err
    assert not session(model).kept
    assert run("recall", "other.mp4", "the yard", "--no-context") == 0


def test_what_cannot_be_done_is_said_in_a_sentence_and_nothing_is_lost(
    run: Run, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keep", "walk.mp4", "the yard") == 0
    before = {file.name: file.read_bytes() for file in Path("walk.session").iterdir()}
    for verb, name, sentence in (
        ("keep", "the yard", "'the yard' is kept already, of frame 24; forget it first or choose another name"),
        ("keep", " ", "the name is empty; give the moment one, as in 'the yard'"),
        ("recall", "yard", "nothing is kept as 'yard', did you mean 'the yard'?"),
        ("forget", "x" * 65, "the name has 65 characters; give at most 64"),
    ):
        capsys.readouterr()
        assert run(verb, "walk.mp4", name) == 2
        assert f"malt: {sentence}\n" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in Path("walk.session").iterdir()} == before
    assert run("keep", "nowhere.mp4", "the yard") == 2
    assert "there is no session" in capsys.readouterr().err
