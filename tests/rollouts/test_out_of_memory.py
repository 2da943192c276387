"""Law of a segment for which there is not enough memory: a sentence says what to lower, and nothing is lost."""

import pytest
import torch
from torch import nn

import tiny_pipeline
from malt.errors import MaltError
from malt.rollouts.registry import ROLLOUTS, build_rollout
from malt.sessions.session import Session
from tiny_pipeline import PROMPT

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
