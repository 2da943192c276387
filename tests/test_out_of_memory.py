"""Law of what there is not enough memory for: a sentence says what to lower, and nothing is lost."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tiny_pipeline
from malt.cli import main
from malt.codecs.malt import MaltCodec
from malt.errors import MaltError
from malt.rollouts.registry import ROLLOUTS, build_rollout
from malt.sessions.session import Session
from malt.training.engine.checkpoint import saved_states
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from tiny_pipeline import PROMPT
from tiny_videos import write_video

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
    ),
    MemoryError(),
]


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", ROLLOUTS)
def test_what_to_lower_is_said(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = build_rollout(name, tiny_pipeline.rollout())
    network = tiny_pipeline.network(rollout)
    monkeypatch.setattr(type(network), "forward", lambda *given, **named: fail(error))
    with pytest.raises(MaltError, match="there is not enough memory for the next segment; lower --size"):
        rollout.advance(rollout.begin(0))


def test_a_session_stands_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session.begin(tiny_pipeline.pipeline(), PROMPT)
    session.advance()
    before = session.state
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "__call__", lambda *given, **named: fail(ERRORS[0]))
        with pytest.raises(MaltError, match="what was made is kept, and can be gone on with"):
            session.advance()
    assert session.state is before
    session.advance()


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = tiny_pipeline.rollout()
    monkeypatch.setattr(
        type(tiny_pipeline.network(rollout)), "forward", lambda *given, **named: fail(RuntimeError("no"))
    )
    with pytest.raises(RuntimeError, match="no"):
        rollout.advance(rollout.begin(0))


class Greedy:
    """An objective whose step needs more than there is."""

    def __init__(self) -> None:
        self.module = nn.Linear(1, 1)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        if step == 2:
            fail(ERRORS[0])
        return self.module(torch.ones(1, 1)).sum(), {}


def test_training_says_what_to_lower_and_keeps_what_was_saved(tmp_path: Path) -> None:
    with pytest.raises(MaltError, match=r"memory for a training step; .*activation-checkpointing true, a smaller"):
        fit(Greedy(), Optimization(num_steps=4), tmp_path, save_seconds=0)
    assert saved_states(tmp_path)


def test_encoding_says_what_to_lower_and_goes_on_behind_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pipeline.autoencoder().save_pretrained("codec")
    write_video(Path("videos/a.mp4"), 16)
    command = ["encode", "videos", "--out", "shards", "--codec", "codec", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(MaltCodec, "encode", lambda *given: fail(ERRORS[1]))
        assert main(command) == 1
    assert "there is not enough memory for these videos; lower --height and --width" in capsys.readouterr().err
    assert main(command) == 0
