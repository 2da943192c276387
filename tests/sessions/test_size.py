"""Laws of what a session will keep: told from shapes, and true."""

import pytest

import tiny
import tiny_base_pipelines
import tiny_pipeline
from malt.memory.registry import KINDS
from malt.memory.state import in_half, num_bytes
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.bases.wan_parts import WanParts
from malt.rollouts.base import held_bytes
from malt.sessions.session import Session
from malt.sessions.size import session_size
from tiny_base_pipelines import PROMPT, SIDE, USE


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_is_as_large_as_is_told_from_shapes(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    assert model.memory_bytes(2, tiny.SIDE, tiny.SIDE) == num_bytes(
        in_half(model.empty_memory(2, tiny.SIDE, tiny.SIDE))
    )


def test_a_session_on_a_base_keeps_as_much_as_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WanParts, "num_frames", 17)
    settings = USE | {"num_inference_steps": 1}
    pipe = AdaptedPipeline(tiny_base_pipelines.wan(), {"memory": "slots", "segment_frames": 3}, settings)
    told = session_size(pipe, SIDE, SIDE)
    session = Session.begin(pipe, PROMPT)
    while session.num_segments < 15:  # the decoder looks some 40 latent frames back
        session.advance()
    assert held_bytes(session.state.now.at_rest().progress) == told.snapshot
    assert "for the 8 that it keeps at most" in str(told)


def test_sides_that_do_not_fit_are_told_as_the_next_smaller_ones() -> None:
    pipe = tiny_pipeline.pipeline()
    assert session_size(pipe, 32, 39) == session_size(pipe, 32, 32)
