"""Laws of the training loop: it can be stopped anywhere and goes on as if it never had been."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from malt.errors import CheckpointError, DivergedError
from malt.training.engine import checkpoint
from malt.training.engine.checkpoint import TrainProgress, damage, load_average, load_state, save_state, saved_states
from malt.training.engine.ema import EMA
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization, build_optimizers
from malt.training.engine.train_state import TrainState

STEPS = 8
PLANS = {
    "AdamW": Optimization(num_steps=STEPS, learning_rate=0.05, warmup_steps=2),
    "Muon and AdamW": Optimization(num_steps=STEPS, learning_rate=0.05, muon_learning_rate=0.02, warmup_steps=2),
}
BOTH = PLANS["Muon and AdamW"]

Happening = Callable[[], Any]


class StumbleError(Exception):
    """What a task of these tests dies of."""


class Regression:
    """A task: a tiny network learns to double numbers; at some steps something may happen to it."""

    def __init__(self, happens: dict[int, Happening] | None = None, width: int = 6) -> None:
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 3))})
        self.happens, self.factor, self.steps = happens or {}, 1.0, list[int]()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self.steps.append(step)
        self.factor = 1.0
        self.happens.get(step, lambda: None)()
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        error = (self.module["blocks"](x) - 2 * x).square().mean()
        return self.factor * error, {"step_squared": float(step**2)}

    def spoil(self) -> None:
        self.factor = float("nan")


def stumble() -> None:
    raise StumbleError


def learned(task: Regression, folder: Path, plan: Optimization = BOTH, **settings: Any) -> dict[str, Tensor]:
    """The weights and their average after fitting."""
    average = fit(task, plan, folder, **settings)
    weights = {name: p.detach().clone() for name, p in task.module.named_parameters()}
    return weights | {f"average of {name}": value for name, value in average.values.items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def journal(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_fitting_learns(tmp_path: Path) -> None:
    fit(Regression(), Optimization(num_steps=60, learning_rate=0.05, warmup_steps=2), tmp_path, log_every=1)
    losses = [line["loss"] for line in journal(tmp_path)]
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("at", [1, 5])
def test_a_run_that_died_goes_on_as_if_it_never_had(tmp_path: Path, plan: Optimization, at: int) -> None:
    whole = learned(Regression(), tmp_path / "whole", plan)
    with pytest.raises(StumbleError):
        fit(Regression({at: stumble}), plan, tmp_path / "broken", save_seconds=0)
    again = Regression()
    assert_equal(learned(again, tmp_path / "broken", plan), whole)
    assert again.steps == list(range(at, STEPS))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_run_that_is_told_to_stop_saves_leaves_and_goes_on_as_if_never_stopped(
    tmp_path: Path, plan: Optimization
) -> None:
    whole = learned(Regression(), tmp_path / "whole", plan)
    handler = signal.getsignal(signal.SIGTERM)
    told = Regression({3: lambda: signal.raise_signal(signal.SIGTERM)})
    with pytest.raises(SystemExit) as left:
        fit(told, plan, tmp_path / "stopped")
    assert left.value.code == 143
    assert told.steps == [0, 1, 2, 3]
    assert signal.getsignal(signal.SIGTERM) == handler
    assert_equal(learned(Regression(), tmp_path / "stopped", plan), whole)


def test_a_run_stopped_again_and_again_equals_one_that_never_was(tmp_path: Path) -> None:
    whole = learned(Regression(), tmp_path / "whole")
    for step in range(STEPS - 1):
        with pytest.raises(SystemExit):
            fit(Regression({step: lambda: os.kill(os.getpid(), signal.SIGTERM)}), BOTH, tmp_path / "stopped")
    assert_equal(learned(Regression(), tmp_path / "stopped"), whole)


def test_a_finished_run_is_not_begun_again(tmp_path: Path) -> None:
    done = learned(Regression(), tmp_path)
    again = Regression()
    assert_equal(learned(again, tmp_path), done)
    assert again.steps == []


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path) -> None:
    spoiled = Regression()
    spoiled.happens = {4: spoiled.spoil, 6: spoiled.spoil}
    before: list[dict[str, Tensor]] = []
    seen = {1: lambda step, module: before.append({n: p.clone() for n, p in module.named_parameters()})}
    weights = learned(spoiled, tmp_path, log_every=1, actions=seen)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert_equal(before[4], before[3])
    assert not torch.equal(before[5]["blocks.0.weight"], before[4]["blocks.0.weight"])
    assert [line["skipped"] for line in journal(tmp_path)] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert [line["loss"] is None for line in journal(tmp_path)] == [step in (4, 6) for step in range(STEPS)]


def test_the_count_of_skipped_steps_survives_a_stop(tmp_path: Path) -> None:
    spoiled = Regression()
    spoiled.happens = {1: spoiled.spoil, 3: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(SystemExit):
        fit(spoiled, BOTH, tmp_path, log_every=1)
    fit(Regression(), BOTH, tmp_path, log_every=1)
    assert [line["skipped"] for line in journal(tmp_path)] == [0, 1, 1, 1, 1, 1, 1, 1]


def test_the_journal_is_lines_of_json(tmp_path: Path) -> None:
    fit(Regression(), BOTH, tmp_path, log_every=2)
    lines = journal(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert [line["step_squared"] for line in lines] == [1, 9, 25, 49]
    assert all({"loss", "norm", "skipped", "seconds"} <= line.keys() for line in lines)


def test_a_run_that_goes_on_writes_on_in_its_journal(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Regression({3: lambda: signal.raise_signal(signal.SIGTERM)}), BOTH, tmp_path, log_every=1)
    fit(Regression(), BOTH, tmp_path, log_every=1)
    assert [line["step"] for line in journal(tmp_path)] == list(range(1, STEPS + 1))


def test_a_run_that_was_killed_tells_no_step_twice(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(
            Regression({1: lambda: signal.raise_signal(signal.SIGTERM)}), BOTH, tmp_path, log_every=1, save_seconds=3600
        )
    with pytest.raises(StumbleError):  # three steps told and not saved
        fit(Regression({5: stumble}), BOTH, tmp_path, log_every=1, save_seconds=3600)
    assert [line["step"] for line in journal(tmp_path)] == [1, 2, 3, 4, 5]
    fit(Regression(), BOTH, tmp_path, log_every=1, save_seconds=3600)
    assert [line["step"] for line in journal(tmp_path)] == list(range(1, STEPS + 1))


def test_actions_see_the_average_and_disturb_nothing(tmp_path: Path) -> None:
    seen: dict[int, Tensor] = {}

    def look(step: int, module: nn.Module) -> None:
        seen[step] = module.get_parameter("blocks.0.weight").clone()
        for parameter in module.parameters():
            parameter.fill_(float("nan"))

    found = learned(Regression(), tmp_path / "looked", actions={4: look})
    assert list(seen) == [4, 8]
    assert torch.equal(seen[8], found["average of blocks.0.weight"])
    assert not torch.equal(seen[8], found["blocks.0.weight"])
    assert_equal(found, learned(Regression(), tmp_path / "plain"))


def test_the_newest_states_are_kept_and_the_milestones_for_good(tmp_path: Path) -> None:
    fit(Regression(), BOTH, tmp_path, save_seconds=0, milestones=(2, 3, 8))
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000007", "step-00000008"]
    milestones = saved_states(tmp_path / "milestones")
    assert [path.name for path in milestones] == ["step-00000002", "step-00000003", "step-00000008"]


def test_a_milestone_is_the_state_after_its_step(tmp_path: Path) -> None:
    fit(Regression(), BOTH, tmp_path / "run", milestones=(3,))
    whole = learned(Regression(), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "run" / "milestones" / "step-00000003").rename(tmp_path / "other" / "step-00000003")
    assert_equal(learned(Regression(), tmp_path / "other"), whole)


@pytest.mark.parametrize("num_written", [0, 1, 2, 3])
def test_a_state_appears_only_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_written: int) -> None:
    whole = learned(Regression(), tmp_path / "whole")
    folder, written = tmp_path / "run", []

    def save_some(tensors: dict[str, Tensor], path: Path) -> None:
        written.append(path)
        if len(written) > 8 + num_written:  # the third state is cut off after so many of its four files
            raise OSError(28, "No space left on device")
        checkpoint_save(tensors, path)

    checkpoint_save = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", save_some)
    with pytest.raises(OSError, match="No space left"):
        fit(Regression(), BOTH, folder, save_seconds=0)
    assert [path.name for path in saved_states(folder)] == ["step-00000001", "step-00000002"]
    monkeypatch.setattr(checkpoint, "save_file", checkpoint_save)
    assert_equal(learned(Regression(), folder), whole)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["weights", "average", "optimizer-0", "optimizer-1"])
@pytest.mark.parametrize("length", [0, 4, -1])
def test_a_damaged_state_without_another_is_refused_in_a_sentence(tmp_path: Path, name: str, length: int) -> None:
    fit(Regression(), BOTH, tmp_path)
    file = saved_states(tmp_path)[-1] / f"{name}.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="step-00000008 cannot be resumed .* delete it to begin again"):
        fit(Regression(), BOTH, tmp_path)


def cut_off(state: Path) -> None:
    file = state / "average.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(state: Path) -> None:
    file = state / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def lose_a_file(state: Path) -> None:
    (state / "optimizer-0.safetensors").unlink()


def forget_the_step(state: Path) -> None:
    (state / "state.json").write_text("{}")


def write_nonsense(state: Path) -> None:
    (state / "state.json").write_text("[")


@pytest.mark.parametrize("harm", [cut_off, flip_a_bit, lose_a_file, forget_the_step, write_nonsense])
def test_a_damaged_state_is_named_and_the_one_before_is_used(
    tmp_path: Path, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = learned(Regression(), tmp_path / "whole")
    fit(Regression(), BOTH, tmp_path / "run", save_seconds=0)
    harm(saved_states(tmp_path / "run")[-1])
    again = Regression()
    assert_equal(learned(again, tmp_path / "run"), whole)
    assert again.steps == [STEPS - 1]
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "step-00000008 is damaged (" in sentence
    assert sentence.endswith("resuming from step-00000007 before it")
    assert damage(saved_states(tmp_path / "run")[-1]) is None
    assert (tmp_path / "run" / "damaged-step-00000008").is_dir()


def test_a_state_of_the_first_release_is_resumed(tmp_path: Path) -> None:
    """It had no checksums, and its optimizers' states went by number."""
    whole = learned(Regression(), tmp_path / "whole")
    with pytest.raises(SystemExit):
        fit(Regression({3: lambda: signal.raise_signal(signal.SIGTERM)}), BOTH, tmp_path / "run")
    (state,) = saved_states(tmp_path / "run")
    (state / "state.json").write_text('{"step": 4}')
    numbers = [
        {"blocks.0.bias": 0, "blocks.2.bias": 1},  # AdamW: what is no matrix
        {"blocks.0.weight": 0, "blocks.2.weight": 1},  # Muon
    ]
    for index, number in enumerate(numbers):
        file = state / f"optimizer-{index}.safetensors"
        named = [(key.rpartition("."), value) for key, value in load_file(file).items()]
        save_file({f"{number[name]}.{key}": value for (name, _, key), value in named}, file)
    assert_equal(learned(Regression(), tmp_path / "run"), whole)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(Regression(width=5), BOTH, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        fit(Regression(width=6), BOTH, tmp_path)


def test_a_state_learned_by_other_optimizers_is_refused(tmp_path: Path) -> None:
    fit(Regression(), PLANS["AdamW"], tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        fit(Regression(), BOTH, tmp_path)


def test_saving_a_state_twice_keeps_it(tmp_path: Path) -> None:
    module = Regression().module
    learner = TrainState(module, EMA(module, 0.9), build_optimizers(module, BOTH))
    for _ in range(2):
        path = save_state(tmp_path / "states", TrainProgress(5, 2), learner)
    assert saved_states(tmp_path / "states") == [path]
    assert load_state(path, learner) == TrainProgress(5, 2)


def test_the_average_of_a_state_can_be_had_alone(tmp_path: Path) -> None:
    found = learned(Regression(), tmp_path)
    (state,) = saved_states(tmp_path)
    average = load_average(state)
    assert all(torch.equal(value, found[f"average of {name}"]) for name, value in average.items())
    cut_off(state)
    with pytest.raises(CheckpointError, match="average.safetensors is not what was written"):
        load_average(state)


def test_as_many_states_are_kept_as_are_asked_for(tmp_path: Path) -> None:
    fit(Regression(), BOTH, tmp_path, save_seconds=0, keep=3)
    assert [path.name for path in saved_states(tmp_path)] == [f"step-0000000{step}" for step in (6, 7, 8)]


def spoiled_from(step: int) -> Regression:
    task = Regression()
    task.happens = dict.fromkeys(range(step, 100), task.spoil)
    return task


def test_a_run_whose_steps_are_not_finite_ends_early_and_keeps_its_last_good_state(tmp_path: Path) -> None:
    good = learned(Regression(), tmp_path / "good", Optimization(num_steps=3, learning_rate=0.05, decay_from=1.0))
    task = spoiled_from(3)
    plan = Optimization(num_steps=50, learning_rate=0.05, decay_from=1.0)
    with pytest.raises(DivergedError, match="10 of 13 steps skipped.; the last good state is .*step-0000001"):
        fit(task, plan, tmp_path / "run", save_seconds=0)
    assert task.steps == list(range(13))
    average = load_average(saved_states(tmp_path / "run")[-1])
    assert [name for name, value in average.items() if not torch.equal(value, good[f"average of {name}"])] == []


def test_skipped_steps_are_counted_across_a_stop(tmp_path: Path) -> None:
    task = spoiled_from(2)

    def spoil_and_stop() -> None:
        task.spoil()
        signal.raise_signal(signal.SIGTERM)

    task.happens[6] = spoil_and_stop
    plan = Optimization(num_steps=50, learning_rate=0.05)
    with pytest.raises(SystemExit):
        fit(task, plan, tmp_path)
    again = spoiled_from(2)
    with pytest.raises(DivergedError):
        fit(again, plan, tmp_path)
    assert again.steps == list(range(7, 12))


def test_a_short_run_has_diverged_when_half_of_its_steps_were_skipped(tmp_path: Path) -> None:
    for num_steps, said in ((5, "3 of 5 steps"), (4, "2 of 4 steps")):
        with pytest.raises(DivergedError, match=said):
            fit(spoiled_from(2), Optimization(num_steps=num_steps, learning_rate=0.05), tmp_path / str(num_steps))


def test_weights_that_are_not_finite_never_take_the_place_of_good_ones(tmp_path: Path) -> None:
    task = Regression()

    def ruin() -> None:
        with torch.no_grad():
            task.module.get_parameter("blocks.0.weight").fill_(float("inf"))

    task.happens = {4: ruin}
    with pytest.raises(DivergedError, match="the last good state is .*step-00000004"):
        fit(task, BOTH, tmp_path, save_seconds=0, keep=1, milestones=(2, 6))
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000004"]
    assert [path.name for path in saved_states(tmp_path / "milestones")] == ["step-00000002"]
