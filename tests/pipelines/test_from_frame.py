"""Laws of a base that goes on from an image: its own pipeline's clip from that image, and from each last frame on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MotifVideoImage2VideoPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from torch import Tensor

from malt.errors import UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted
from malt.pipelines.bases.guided_image_parts import FromImageParts
from malt.pipelines.bases.wan_image_parts import WanImageParts
from malt.rollouts.registry import build_rollout
from malt.sessions.session import Session
from tiny_base_pipelines import PROMPT, SIDE, USE
from tiny_image_bases import base
from tiny_pretrained_behind import hunyuan15_image, motif_image

PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(params=["2.1", "2.2", "5B"])
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AdaptedPipeline:
    monkeypatch.setattr(WanImageParts, "num_frames", 17)
    return AdaptedPipeline(base(request.param), settings=USE | {"guidance_scale": 4.0})


def given() -> Tensor:
    return torch.tensor(PIXELS).permute(2, 0, 1)[None, None] / 127.5 - 1


def test_what_follows_an_image_is_the_base_pipelines_own_clip(pipe: AdaptedPipeline) -> None:
    rollout = pipe.rollout(PROMPT)
    ((_, state),) = rollout.prefill(rollout.begin(3), given())
    noise = rollout.generators(state).draw(5)
    segment, _ = rollout.advance(state)
    size = {"height": SIDE, "width": SIDE, "num_frames": 17, "num_inference_steps": 2, "guidance_scale": 4.0}
    latents = noise.transpose(1, 2).clone()
    clip = pipe.base(Image.fromarray(PIXELS), PROMPT, latents=latents, output_type="latent", **size).frames
    own = clip.transpose(1, 2)[:, 1:]
    torch.testing.assert_close(segment.latents, own, rtol=0, atol=1e-5 * float(own.abs().max()))


# Long for HunyuanVideo, whose tokenizer leaves out as many tokens as its template has.
@pytest.mark.parametrize(("save", "clip_length"), [(hunyuan15_image, 9), (motif_image, 17)])
def test_what_follows_an_image_is_the_guided_pipelines_own_clip(
    save: Callable[[Path], Path], clip_length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FromImageParts, "num_frames", clip_length)
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode()
    )  # as malt does
    made = load_adapted(save(tmp_path / "base"), dtype=torch.float32)
    made.settings |= USE | {"guidance_scale": 4.0}
    made.base.tokenizer_max_length = 64  # of 1000, most of which would be padding
    prompt = " ".join([PROMPT] * 20)
    rollout = made.rollout(prompt)
    ((_, state),) = rollout.prefill(rollout.begin(3), given())
    noise = rollout.generators(state).draw((clip_length - 1) // 4 + 1)
    segment, _ = rollout.advance(state)
    latents = noise.transpose(1, 2).clone()
    size: dict[str, Any] = {"num_frames": clip_length, "num_inference_steps": 2}
    if isinstance(made.base, MotifVideoImage2VideoPipeline):
        size |= {"height": SIDE, "width": SIDE, "negative_prompt": ""}
    clip = made.base(Image.fromarray(PIXELS), prompt, latents=latents, output_type="latent", **size).frames
    own = clip.transpose(1, 2)[:, 1:]
    torch.testing.assert_close(segment.latents, own, rtol=0, atol=1e-5 * float(own.abs().max()))


def test_it_goes_on_from_its_last_frame_and_is_resumed_bit_for_bit(pipe: AdaptedPipeline, tmp_path: Path) -> None:
    session = Session.begin(pipe, PROMPT, seed=1)
    list(session.prefill(given()[0]))
    session.advance()
    session.save(tmp_path / "session")
    resumed = Session.load(tmp_path / "session", pipe)
    assert session.num_frames == 17
    assert torch.equal(resumed.advance().frames, session.advance().frames)
    border = session.rewind(17)
    assert torch.equal(session.branch(at=border).advance().frames, session.advance().frames)


def test_without_an_image_a_sentence_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WanImageParts, "num_frames", 17)
    rollout = AdaptedPipeline(base("2.2"), settings=USE).rollout(PROMPT)
    with pytest.raises(UsageError, match="this base makes video from an image; give one with --image"):
        rollout.advance(rollout.begin(0))
    with pytest.raises(UsageError, match="goes on from an image does so in one way; leave the rollout full out"):
        build_rollout("full", rollout)


@pytest.mark.parametrize("kind", ["2.1", "2.2"])
def test_with_an_adapter_it_goes_on_from_its_last_frame_and_from_what_it_remembers(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(6)
    settings = {"memory": "hierarchical", "memory_size": 2, "segment_frames": 2}
    pipe = AdaptedPipeline(base(kind), settings, USE | {"guidance_scale": 4.0})
    session = Session.begin(pipe, PROMPT, seed=1)
    list(session.prefill(given()[0]))
    first, second = session.advance(), session.advance()
    assert first.frames.shape[1] == 8 and second.memory_bytes > 0
    session.save(tmp_path / "session")
    third = session.advance().frames
    assert torch.equal(Session.load(tmp_path / "session", pipe).advance().frames, third)
    session.rewind(session.num_frames - third.shape[1])
    session.set_prompt("blue square")
    assert not torch.equal(session.advance().frames, third)


def test_a_memory_of_what_an_image_became_changes_the_next_segment_and_nothing_else_does() -> None:
    pipe = AdaptedPipeline(base("2.1"), {"memory": "hierarchical", "memory_size": 2, "segment_frames": 2}, USE)
    rollout = pipe.rollout(PROMPT)
    ((_, state),) = rollout.prefill(rollout.begin(3), given())
    _, after = rollout.advance(state)
    remembered, _ = rollout.advance(after)
    emptied, _ = rollout.advance(replace(after, memory=state.memory))
    again, _ = rollout.advance(after)
    assert torch.equal(remembered.latents, again.latents)
    assert not torch.equal(remembered.latents, emptied.latents)
