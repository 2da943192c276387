"""Laws of a base that goes on from an image: its own pipeline's clip from that image, and from each last frame on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanTransformer3DModel
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

import tiny_base_pipelines as tiny
from malt.errors import UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.bases.wan_image_parts import WanImageParts
from malt.rollouts.registry import build_rollout
from malt.sessions.session import Session
from tiny_base_pipelines import PROMPT, SIDE, USE
from tiny_bases import TINY_BASES, wan_sizes

PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def clip_model() -> CLIPVisionModel:
    torch.manual_seed(3)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=16, **sizes)).eval()


def base(kind: str) -> WanImageToVideoPipeline:
    parts: dict[str, Any] = {"tokenizer": tiny.tokenizer(), "text_encoder": tiny.umt5(), "vae": tiny.wan_vae()}
    parts["scheduler"] = tiny.unipc()
    if kind == "5B":
        return WanImageToVideoPipeline(transformer=TINY_BASES["wan"].base(), expand_timesteps=True, **parts)
    if kind == "2.2":
        torch.manual_seed(0)
        return WanImageToVideoPipeline(transformer=WanTransformer3DModel(**wan_sizes(in_channels=36)).eval(), **parts)
    parts |= {"image_encoder": clip_model(), "image_processor": CLIPImageProcessor(size=32, crop_size=32)}
    return WanImageToVideoPipeline(transformer=TINY_BASES["wan-i2v"].base(), **parts)


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
    with pytest.raises(UsageError, match="a base that goes on from an image takes no memory; leave the adapter out"):
        AdaptedPipeline(base("2.2"), {"memory": "slots"})
