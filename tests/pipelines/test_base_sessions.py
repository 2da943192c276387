"""Laws of sessions by pretrained pipelines, whatever their autoencoder: saved, gone on with and rewound, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

import tiny_pretrained
import tiny_pretrained_behind
from malt.errors import UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted
from malt.sessions.session import Session

RED = "a red circle passes behind a wall"
BASES = [tiny_pretrained.wan, tiny_pretrained.ltx, tiny_pretrained.cogvideox, tiny_pretrained_behind.mochi]
MEMORY = {"memory": "hierarchical", "memory_size": 2, "segment_frames": 2, "context_frames": 0}


def frames_of(session: Session, num_segments: int) -> Tensor:
    return torch.cat([session.advance().frames for _ in range(num_segments)], dim=1)


@pytest.mark.parametrize("build", BASES, ids=lambda build: build.__name__)
def test_a_session_is_saved_gone_on_with_and_rewound_bit_for_bit(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    pipe = AdaptedPipeline(DiffusionPipeline.from_pretrained(build(tmp_path / "base")), MEMORY)
    pipe.base.set_progress_bar_config(disable=True)
    session = Session.begin(pipe, RED, seed=3, height=32, width=32, num_inference_steps=1)
    first = frames_of(session, 2)
    session.save(tmp_path / "walk.session")
    rest = frames_of(session, 2)
    assert torch.equal(frames_of(Session.load(tmp_path / "walk.session", pipe), 2), rest)
    border = session.rewind(first.shape[1])
    assert border == first.shape[1]
    assert torch.equal(frames_of(session, 2), rest)
    assert session.num_frames == pipe.codec.frames_of(8, first=True)


def test_a_session_keeps_the_guidance_that_a_base_was_told(tmp_path: Path) -> None:
    pipe = load_adapted(tiny_pretrained.hunyuan(tmp_path / "base"), dtype=torch.float32)
    session = Session.begin(pipe, RED, height=32, width=32, num_inference_steps=1)
    assert session.state.settings["guidance_scale"] == pipe.parts.guidance_scale == 6.0
    caption = pipe.rollout(RED, **session.state.settings).caption
    assert torch.equal(caption.added["guidance"], torch.tensor([6000.0]))


@pytest.mark.parametrize(
    ("build", "scale"), [(tiny_pretrained.wan, 1.0), (tiny_pretrained.hunyuan, 6.0)], ids=["unguided", "told"]
)
def test_a_session_with_a_negative_prompt_that_was_never_heeded_goes_on_without(
    tmp_path: Path, build: Callable[[Path], Path], scale: float
) -> None:
    pipe = load_adapted(build(tmp_path / "base"), dtype=torch.float32)
    session = Session.begin(pipe, RED, height=32, width=32, num_inference_steps=1, guidance_scale=scale)
    session.state.settings["negative_prompt"] = "a wall"  # as earlier versions kept it
    session.save(tmp_path / "walk.session")
    again = Session.load(tmp_path / "walk.session", pipe)
    del session.state.settings["negative_prompt"]
    assert again.state.settings == session.state.settings and again.frames_ahead == session.frames_ahead
    with pytest.raises(UsageError, match="the negative prompt would do nothing"):
        Session.begin(pipe, RED, height=32, width=32, guidance_scale=scale, negative_prompt="a wall")


def test_what_such_a_session_makes_is_what_it_would_have_made(tmp_path: Path) -> None:
    pipe = load_adapted(tiny_pretrained.wan(tmp_path / "base"), dtype=torch.float32)
    session = Session.begin(pipe, RED, height=32, width=32, num_inference_steps=1, guidance_scale=1.0)
    session.advance()
    session.save(tmp_path / "plain.session")
    session.state.settings["negative_prompt"] = "a wall"
    session.save(tmp_path / "walk.session")
    plain, walk = (Session.load(tmp_path / f"{name}.session", pipe) for name in ("plain", "walk"))
    assert torch.equal(frames_of(walk, 1), frames_of(plain, 1))


def test_segments_that_part_a_pair_of_latents_are_refused_in_a_sentence(tmp_path: Path) -> None:
    base = DiffusionPipeline.from_pretrained(tiny_pretrained.cogvideox(tmp_path / "base"))
    with pytest.raises(
        UsageError, match="3 latent frames, .* decodes 2 at a time; give an adapter whose segment_frames"
    ):
        AdaptedPipeline(base, MEMORY | {"segment_frames": 3})


def test_a_window_without_an_adapter_parts_no_pair(tmp_path: Path) -> None:
    pipe = load_adapted(tiny_pretrained.cogvideox(tmp_path / "base"), dtype=torch.float32)
    assert pipe.transformer.segment_frames % pipe.codec.latent_group == 0
