"""The bytes of a session are known from shapes, whatever the autoencoder, and that asks for no computing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

import malt
import tiny_pretrained
import tiny_pretrained_behind
from malt.env.state_bytes import at_rest
from malt.pipelines.adapted import AdaptedPipeline
from malt.rollouts.base import held_bytes

MEMORY = {"memory": "hierarchical", "memory_size": 2, "segment_frames": 2, "context_frames": 0}
BASES = [tiny_pretrained.wan, tiny_pretrained.ltx, tiny_pretrained.cogvideox, tiny_pretrained_behind.mochi]


@pytest.mark.slow
@pytest.mark.parametrize("build", BASES, ids=lambda build: build.__name__)
def test_pretrained_bases_are_environments_of_known_size(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    pipe = AdaptedPipeline(DiffusionPipeline.from_pretrained(build(tmp_path / "base")), MEMORY)
    pipe.base.set_progress_bar_config(disable=True)
    env = malt.make(pipe, 2, height=32, width=32, num_inference_steps=1)
    expected = env.memory_spec().session_bytes
    env.reset(0, "a red circle")
    for _ in range(3):
        frames = env.step()
    assert frames.shape == (2, pipe.codec.frames_of(2, first=False), 32, 32, 3)
    assert max(held_bytes(at_rest(session.progress)) for session in env.sessions) <= expected
    state = env.state()
    following = env.step()
    env.restore(state)
    assert (env.step() == following).all()
