"""Laws of every known base: its first segment is its own pipeline's clip, and it goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor

import tiny_pretrained
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted

# Long, as HunyuanVideo leaves out 95 tokens at the beginning, as many as its template has for its own tokenizer.
PROMPT, STEPS, SCALE = " ".join(["a red circle passes behind a wall"] * 8), 3, 4.0


@dataclass(frozen=True)
class Own:
    """How a base's own pipeline is called. pack, unpack: noise (b, s, c, h, w) as it takes it, and its latents as ours."""

    save: Callable[[Path], Path]
    frame_size: tuple[int, int]
    num_frames: int
    pack: Callable[[Tensor], Tensor]
    unpack: Callable[[Tensor, Tensor], Tensor]  # its latents, like
    tolerance: float = 1e-5


def _unpack_ltx(latents: Tensor, like: Tensor) -> Tensor:
    return rearrange(latents, "b (s h w) c -> b s c h w", h=like.shape[-2], w=like.shape[-1])


OWN = {
    "wan": Own(tiny_pretrained.wan, (32, 32), 17, lambda x: x.transpose(1, 2), lambda x, _: x.transpose(1, 2)),
    "ltx": Own(tiny_pretrained.ltx, (64, 64), 9, lambda x: rearrange(x, "b s c h w -> b (s h w) c"), _unpack_ltx),
    "hunyuan": Own(tiny_pretrained.hunyuan, (32, 32), 9, lambda x: x.transpose(1, 2), lambda x, _: x.transpose(1, 2)),
    "cogvideox": Own(tiny_pretrained.cogvideox, (32, 32), 9, lambda x: x, lambda x, _: x, tolerance=1e-3),
}


@pytest.fixture(scope="module", params=OWN)
def own(request: pytest.FixtureRequest) -> Own:
    return OWN[request.param]


@pytest.fixture(scope="module")
def pipe(own: Own, tmp_path_factory: pytest.TempPathFactory) -> AdaptedPipeline:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("malt.pipelines.bases.parts.BaseParts.num_frames", own.num_frames)
        patch.setattr("malt.pipelines.bases.cogvideox_parts.CogVideoXParts.num_frames", own.num_frames)
        pipe = load_adapted(own.save(tmp_path_factory.mktemp("base")), dtype=torch.float32)
    pipe.settings |= {"frame_size": own.frame_size, "num_inference_steps": STEPS, "guidance_scale": SCALE}
    pipe.base.set_progress_bar_config(disable=True)
    return pipe


def test_the_first_segment_is_the_base_pipelines_own_clip(
    own: Own, pipe: AdaptedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = pipe.codec.space_compression
    monkeypatch.setattr("malt.adapters.ltx.COMPRESSION", (pipe.codec.time_compression, side, side))
    rollout = pipe.rollout(PROMPT)
    state = rollout.begin(3)
    noise = rollout.generators(state).draw(rollout.latents_ahead(state))
    made, _ = rollout.advance(state)
    height, width = own.frame_size
    clip = pipe.base(
        PROMPT,
        height=height,
        width=width,
        num_frames=own.num_frames,
        num_inference_steps=STEPS,
        guidance_scale=SCALE,
        latents=own.pack(noise).clone(),
        output_type="latent",
    ).frames
    expected = own.unpack(clip, noise)
    assert made.latents.shape == expected.shape
    torch.testing.assert_close(made.latents, expected, rtol=0, atol=own.tolerance * float(expected.abs().max()))


def test_it_goes_on_and_a_longer_video_begins_with_the_shorter(pipe: AdaptedPipeline) -> None:
    def video(num_frames: int) -> Tensor:
        frames = pipe(
            PROMPT, num_frames=num_frames, generator=torch.Generator().manual_seed(0), output_type="pt"
        ).frames
        assert isinstance(frames, Tensor)
        return frames

    longer = video(36)
    assert longer.shape[1] == 36 and torch.equal(video(20), longer[:, :20])
