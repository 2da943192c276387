"""Laws of learning together: two processes do what one does, and each goes on where the other stopped."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import two_ranks
from malt.errors import UsageError
from malt.training.engine.checkpoint import load_average, saved_states
from malt.training.engine.parallel import DistributedContext, clip_gradients, launched, shard

pytestmark = pytest.mark.slow  # two processes import torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found together; `alone` and the first half of `one` are the work of this process."""
    folder = tmp_path_factory.mktemp("two")
    two_ranks.learned(folder / "one", steps=2)
    shutil.copytree(folder / "one", folder / "begun")
    processes = two_ranks.start(folder)
    assert [process.returncode for process in processes] == [0, 0], processes[0].stderr + processes[1].stderr
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    two_ranks.learned(folder / "run")
    return folder / "run"


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=tolerance, rtol=1e-4, msg=partial("{}: {}".format, name))


@pytest.mark.parametrize(("kind", "scale"), two_ranks.SLOPES)
def test_one_rank_and_two_have_the_same_loss_and_gradients(folder: Path, kind: str, scale: str) -> None:
    together = load_file(folder / f"{kind}-{scale}.safetensors")
    assert_close(together, two_ranks.slope(kind, "replicated"))
    assert together["norm"] > 0.5  # so that they were clipped


def test_two_ranks_learn_what_one_does_and_average_it_alike(folder: Path, alone: Path) -> None:
    assert losses(folder / "sharded") == pytest.approx(losses(alone), rel=1e-4)
    whole = load_average(saved_states(alone)[-1])
    assert_close(load_file(folder / "sharded.safetensors"), whole, tolerance=1e-4)


def test_replicated_weights_may_be_learned_by_muon(folder: Path, tmp_path: Path) -> None:
    two_ranks.learned(tmp_path, plan=two_ranks.MUON)
    assert losses(folder / "replicated") == pytest.approx(losses(tmp_path), rel=1e-3)


def test_sharded_weights_are_learned_by_adamw_alone(folder: Path) -> None:
    assert load_file(folder / "optimizers.safetensors")["count"] == 1


def test_a_state_of_one_rank_goes_on_on_two(folder: Path, alone: Path) -> None:
    assert losses(folder / "begun") == losses(alone)[:2]
    assert losses(folder / "one") == pytest.approx(losses(alone), rel=1e-4)
    assert_close(load_file(folder / "one.safetensors"), load_average(saved_states(alone)[-1]), tolerance=1e-4)


def test_a_signal_to_one_of_two_stops_and_saves_both_and_one_goes_on(folder: Path, alone: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "stopped", tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 2
    found = two_ranks.learned(tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-4)
    assert_close(found, load_average(saved_states(alone)[-1]), tolerance=1e-4)


def test_the_average_of_a_sharded_state_can_be_had_by_one_process(folder: Path) -> None:
    state = saved_states(folder / "sharded")[-1]
    assert len(list(state.glob("shard-*.safetensors"))) == 2
    assert_close(load_average(state), load_file(folder / "sharded.safetensors"), tolerance=0)


def test_two_ranks_keep_the_newest_states_and_leave_nothing_half_written(folder: Path) -> None:
    assert [path.name for path in saved_states(folder / "sharded")] == ["step-00000003", "step-00000004"]
    assert not list((folder / "sharded").glob(".*"))


def test_alone_nothing_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with launched() as context:
        assert context == DistributedContext(0, 1)
        assert not torch.distributed.is_initialized()
    assert context.agree(True, False) == (True, False)
    assert context.mean({"loss": 2.0}) == {"loss": 2.0}


def test_clipping_is_torchs_own_where_nothing_is_sharded() -> None:
    one, other = (nn.Linear(7, 5) for _ in range(2))
    for module in (one, other):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(clip_gradients(one, 0.3), nn.utils.clip_grad_norm_(other.parameters(), 0.3))
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


def test_copies_that_the_ranks_cannot_hold_are_refused() -> None:
    with pytest.raises(UsageError, match="1 process cannot hold 3 copies"):
        shard(nn.Linear(2, 2), [], num_replicas=3)
