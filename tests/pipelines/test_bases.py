"""Laws of every known base: its first segment is its own pipeline's clip, and it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from einops import rearrange
from torch import Tensor

import tiny_pretrained
import tiny_pretrained_behind as behind
from malt.errors import UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted
from malt.pipelines.bases.guided_parts import MotifVideoParts
from malt.pipelines.bases.ltx2_parts import LTX2Parts
from malt.pipelines.bases.parts import BaseParts, shifted_by_tokens
from malt.pipelines.bases.registry import PARTS

# Long, as HunyuanVideo leaves out 95 tokens at the beginning, as many as its template has for its own tokenizer.
PROMPT, STEPS, SCALE = " ".join(["a red circle passes behind a wall"] * 8), 3, 4.0


Move = Callable[[Tensor, Tensor], Tensor]


def _swap(latents: Tensor, _like: Tensor) -> Tensor:
    return latents.transpose(1, 2)


def _pack(latents: Tensor, _like: Tensor) -> Tensor:
    return rearrange(latents, "b s c h w -> b (s h w) c")


def _unpack(latents: Tensor, like: Tensor) -> Tensor:
    return rearrange(latents, "b (s h w) c -> b s c h w", h=like.shape[-2], w=like.shape[-1])


@dataclass(frozen=True)
class Own:
    """How a base's own pipeline is called.

    pack, unpack: noise (b, s, c, h, w) as it takes it, and its latents as ours. said: what it is told beside the prompt.
    alone: the pipeline that makes the clip, where ours lacks parts that it wants.
    """

    save: Callable[[Path], Path]
    frame_size: tuple[int, int]
    num_frames: int
    pack: Move = _swap
    unpack: Move = _swap
    said: dict[str, Any] = field(default_factory=lambda: {"guidance_scale": SCALE})
    length: str = "num_frames"
    tolerance: float = 1e-5
    alone: Callable[[AdaptedPipeline], Any] = lambda pipe: pipe.base


def _without_sound(pipe: AdaptedPipeline) -> Any:
    """LTX-2's own pipeline, whose picture hears nothing of the sound."""
    whole = DiffusionPipeline.from_pretrained(pipe.folder)
    forward = whole.transformer.forward
    whole.transformer.forward = lambda **told: forward(**told | {"isolate_modalities": True})
    return whole


class _Apart(UniPCMultistepScheduler):
    """Keeps what it was given, where SkyReels-V2's pipeline writes into it: each frame of a clip has a scheduler of its own."""

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True) -> Any:
        return super().step(model_output, timestep, sample.clone(), return_dict)


def _with_given_noise(pipe: AdaptedPipeline) -> Any:
    """SkyReels-V2's own pipeline, which fails where noise is given: it forgets to say that nothing comes before it."""
    prepare = pipe.base.prepare_latents

    def prepared(*told: Any, **named: Any) -> tuple[Tensor, int, None, int]:
        latents = prepare(*told, **named)
        return latents, latents.shape[2], None, 0

    pipe.base.prepare_latents, pipe.base.scheduler.__class__ = prepared, _Apart
    return pipe.base


UNHEARD = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
UNHEARD |= {f"audio_{name}": value for name, value in UNHEARD.items()}
OWN = {
    "wan": Own(tiny_pretrained.wan, (32, 32), 17),
    "skyreels": Own(tiny_pretrained.skyreels, (32, 32), 17, alone=_with_given_noise),
    "ltx": Own(tiny_pretrained.ltx, (64, 64), 9, _pack, _unpack),
    "hunyuan": Own(tiny_pretrained.hunyuan, (32, 32), 9),
    "cogvideox": Own(tiny_pretrained.cogvideox, (32, 32), 9, lambda x, _: x, lambda x, _: x, tolerance=1e-3),
    "hunyuan15": Own(behind.hunyuan15, (32, 32), 9, said={}),
    "ltx2": Own(behind.ltx2, (64, 64), 9, _pack, said={"guidance_scale": SCALE} | UNHEARD, alone=_without_sound),
    "mochi": Own(behind.mochi, (32, 32), 10),
    "motif": Own(behind.motif, (32, 32), 17, said={}),
    "sana": Own(
        behind.sana, (32, 32), 17, said={"guidance_scale": SCALE, "use_resolution_binning": False}, length="frames"
    ),
}


@pytest.fixture(scope="module", params=OWN)
def own(request: pytest.FixtureRequest) -> Own:
    return OWN[request.param]


@pytest.fixture(scope="module")
def pipe(own: Own, tmp_path_factory: pytest.TempPathFactory) -> AdaptedPipeline:
    with pytest.MonkeyPatch.context() as patch:
        for parts in {BaseParts, *PARTS.values()}:
            patch.setattr(parts, "num_frames", own.num_frames)
        pipe = load_adapted(own.save(tmp_path_factory.mktemp("base")), dtype=torch.float32)
    pipe.settings |= {"frame_size": own.frame_size, "num_inference_steps": STEPS, "guidance_scale": SCALE}
    pipe.base.set_progress_bar_config(disable=True)
    if hasattr(pipe.base, "prompt_template_encode_start_idx"):
        pipe.base.tokenizer_max_length = 64  # of 1000, most of which would be padding
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
    clip = own.alone(pipe)(
        PROMPT,
        height=height,
        width=width,
        num_inference_steps=STEPS,
        latents=own.pack(noise, noise).clone(),
        output_type="latent",
        **{own.length: own.num_frames} | own.said,
    ).frames
    expected = own.unpack(clip, noise)
    assert made.latents.shape == expected.shape
    torch.testing.assert_close(made.latents, expected, rtol=0, atol=own.tolerance * float(expected.abs().max()))


def test_a_schedule_that_ends_above_nothing_takes_two_steps() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1)
    with pytest.raises(UsageError, match="asked for 1 denoising steps; this base's scheduler takes at least 2"):
        shifted_by_tokens(scheduler, 1, 100, (1024, 4096), (0.95, 2.05))


def test_what_the_base_would_do_beside_is_said_in_a_sentence() -> None:
    assert LTX2Parts(None).remarks() == [
        "this base makes sound as well; only the picture is made, by guidance of the text alone"
    ]
    guiders = [ClassifierFreeGuidance(), ClassifierFreeGuidance(guidance_rescale=0.7), AdaptiveProjectedGuidance()]
    remarks = [MotifVideoParts(SimpleNamespace(guider=guider)).remarks() for guider in guiders]
    assert remarks[0] == []
    assert remarks[2] == [
        "this base comes with AdaptiveProjectedGuidance; it is guided by the plain classifier-free guidance here"
    ]
    assert len(remarks[1]) == 1


def test_several_videos_of_several_prompts_are_each_of_its_own(pipe: AdaptedPipeline) -> None:
    prompts = [PROMPT, "two blue squares " * 60]
    rollout = pipe.rollout(prompts, num_videos_per_prompt=2)
    first, second = (pipe.rollout(prompt).caption for prompt in prompts)
    for number, each in enumerate((first, first, second, second)):
        torch.testing.assert_close(rollout.caption.states[number], each.states[0], rtol=1e-4, atol=1e-4)
        assert torch.equal(rollout.caption.mask[number], each.mask[0])


def test_it_goes_on_and_a_longer_video_begins_with_the_shorter(pipe: AdaptedPipeline) -> None:
    def video(num_frames: int) -> Tensor:
        frames = pipe(
            PROMPT, num_frames=num_frames, generator=torch.Generator().manual_seed(0), output_type="pt"
        ).frames
        assert isinstance(frames, Tensor)
        return frames

    longer = video(36)
    assert longer.shape[1] == 36 and torch.equal(video(20), longer[:, :20])
