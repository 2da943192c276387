"""Laws of `malt evaluate`, with a tiny pipeline whose weights are random."""

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_pipeline
from malt.cli import main
from malt.models.text import build_tokenizer

Run = Callable[..., int]


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    pipeline, module = tiny_pipeline.pipeline(), importlib.import_module("malt.commands.evaluate")
    monkeypatch.setattr(importlib.import_module("malt.pipelines.loading"), "load_pipeline", lambda checkpoint: pipeline)
    monkeypatch.setattr(module, "SHOWN", {True: (2, 16), False: (2, 16)})
    monkeypatch.chdir(tmp_path)
    return lambda *options: main(["evaluate", "--device", "cpu", "--quick", "--count", "2", *options])


def test_it_writes_figures_a_page_and_videos_and_does_nothing_twice(evaluate: Run) -> None:
    assert evaluate("--metrics", "boundaries", "--out", "seen") == 0
    results = json.loads(Path("seen/results.json").read_text())
    found = results["subjects"]["malt"]["metrics"]["boundaries"]
    assert found["figures"]["border over inside"]["n"] == 2
    assert len(results["subjects"]["malt"]["identity"]["sha256"]) == 64
    page = Path("seen/index.html").read_text()
    assert "jump at borders" in page
    assert "still missing" not in page
    assert sorted(os.listdir("seen/videos")) == [
        "malt-0.mp4",
        "malt-1.mp4",
        "the-world-itself-0.mp4",
        "the-world-itself-1.mp4",
    ]
    run = Path("seen/runs/malt/boundaries/0.json")
    before = run.stat().st_mtime_ns
    assert evaluate("--metrics", "boundaries", "--out", "seen", "--seeds", "2") == 0
    assert run.stat().st_mtime_ns == before
    assert Path("seen/runs/malt/boundaries/1.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metrics", "recal"], "did you mean 'recall'"),
        (["--metrics", ","], "nothing was given as --metrics"),
        (["--rollouts", "mal"], "did you mean 'malt'"),
        (["--metrics", "fvd"], "--i3d"),
        (["--metrics", "drift", "--frames", "64"], "at least 128"),
        (["--metrics", "wear"], "the metric wear is called drift now"),
        (["--metrics", "seams"], "the metric seams is called boundaries now"),
        (["--world", "pasage"], "did you mean 'passage'"),
        (["--metrics", "frechet", "--count", "1"], "at least 2 videos"),
        (["--captions", "noting"], "nothing"),
        (["--seeds", "0"], "--seeds"),
        (["nowhere"], "there is no checkpoint folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    evaluate: Run, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert os.listdir() == []


def test_of_a_model_that_takes_actions_the_page_says_what_its_figures_are_good_for(
    evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting = tiny_pipeline.pipeline(action_dim=8)
    monkeypatch.setattr(importlib.import_module("malt.pipelines.loading"), "load_pipeline", lambda checkpoint: acting)
    assert evaluate("--metrics", "boundaries", "--out", "seen") == 0
    assert "It takes actions" in Path("seen/index.html").read_text()


def test_of_a_model_that_was_never_told_of_this_world_the_page_says_so(
    evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tiny_pipeline.pipeline()
    stranger.tokenizer = build_tokenizer(("a", "cat", "shape"), max_length=12)
    monkeypatch.setattr(importlib.import_module("malt.pipelines.loading"), "load_pipeline", lambda checkpoint: stranger)
    assert evaluate("--metrics", "boundaries", "--out", "seen") == 0
    assert "whose words it does not know" in Path("seen/index.html").read_text()


def test_the_folder_of_another_run_is_refused(evaluate: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("")
    assert evaluate("--metrics", "boundaries", "--out", "mine") == 2
    assert "holds something else" in capsys.readouterr().err


def test_an_interrupted_evaluation_keeps_what_it_has_and_goes_on(
    evaluate: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = importlib.import_module("malt.evaluation.evaluation_run").EvaluationRun
    run = study.run

    def interrupted(self: object, task: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run", interrupted)
    assert evaluate("--metrics", "boundaries", "--out", "seen") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert "1 of 1 runs are still missing" in Path("seen/index.html").read_text()
    monkeypatch.setattr(study, "run", run)
    assert evaluate("--metrics", "boundaries", "--out", "seen") == 0
