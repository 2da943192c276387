"""Laws of the journal: it tells every step once, in JSON, and to TensorBoard where that is installed."""

import json
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from malt.training.engine import metric_log as module
from malt.training.engine.metric_log import MetricLogger


@pytest.fixture
def no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("no_board")
def test_a_line_tells_a_step_and_its_figures(tmp_path: Path) -> None:
    MetricLogger(tmp_path / "run").write(3, {"loss": 0.5, "norm": float("nan")})
    assert (tmp_path / "run" / "journal.jsonl").read_text() == '{"step": 3, "loss": 0.5, "norm": null}\n'
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.usefixtures("no_board")
@pytest.mark.parametrize("resumed", [0, 2, 4, 9])
def test_what_is_told_again_is_told_once(tmp_path: Path, resumed: int) -> None:
    first = MetricLogger(tmp_path)
    for step in range(1, 7):
        first.write(step, {"loss": 1.0})
    with first.path.open("a") as file:
        file.write('{"step": 7, "lo')  # killed while it wrote
    again = MetricLogger(tmp_path)
    again.rewind(resumed)
    assert steps(again.path) == list(range(1, min(resumed, 6) + 1))
    again.write(resumed + 1, {"loss": 2.0})
    assert steps(again.path)[-1] == resumed + 1


@pytest.mark.usefixtures("no_board")
def test_a_journal_that_is_not_told_goes_back_to_the_first_step_it_writes(tmp_path: Path) -> None:
    for first in (1, 3):
        journal = MetricLogger(tmp_path, "validation")
        for step in range(first, first + 4):
            journal.write(step, {"loss": float(first)})
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3), (6, 3)]


def test_a_silent_journal_writes_nothing(tmp_path: Path) -> None:
    journal = MetricLogger(tmp_path, silent=True)
    journal.rewind(0)
    journal.write(1, {"loss": 1.0})
    journal.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_sees_every_journal_of_a_run_and_no_step_twice(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (1, 3):
        time.sleep(1.05)  # event files are read in the order of their names, which begin with the second
        train, valid = MetricLogger(tmp_path), MetricLogger(tmp_path, "validation")
        for step in range(first, first + 4):
            train.write(step, {"loss": float(first), "norm": float("inf")})
        valid.write(first, {"loss": 9.0})
        train.close()
        valid.close()
    seen = EventAccumulator(str(tmp_path / "tensorboard" / "journal")).Reload()
    assert seen.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in seen.Scalars("loss")] == [
        (step, 1.0 if step < 3 else 3.0) for step in range(1, 7)
    ]
    other = EventAccumulator(str(tmp_path / "tensorboard" / "validation")).Reload()
    assert [event.step for event in other.Scalars("loss")] == [1, 3]
