"""Laws of a pretrained base that goes on: its own clip first, then segments without end, the same whichever way."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_base_pipelines as tiny
from malt.errors import UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted
from malt.pipelines.bases.wan_parts import WanParts
from malt.rollouts.base import held_bytes
from malt.rollouts.registry import ROLLOUTS, build_rollout
from malt.sessions.session import Session
from tiny_base_pipelines import FRAMES, PROMPT, SIDE, STEPS, USE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("bases") / "wan")


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base of clips of 5 latent frames."""
    monkeypatch.setattr(WanParts, "num_frames", FRAMES)


def pipeline(folder: Path, **settings: object) -> AdaptedPipeline:
    pipe = load_adapted(folder, dtype=torch.float32)
    pipe.settings |= USE | settings
    return pipe


def own_clip(pipe: AdaptedPipeline, noise: Tensor, **call: object) -> Tensor:
    """What the base's own pipeline makes of this noise (b, s, c, h, w)."""
    given = {"height": SIDE, "width": SIDE, "num_inference_steps": STEPS, "output_type": "latent"}
    latents = noise.transpose(1, 2).clone()
    frames = 1 + 4 * (noise.shape[1] - 1)
    made = pipe.base(PROMPT, latents=latents, num_frames=frames, **given | call).frames
    return made.transpose(1, 2)


def test_the_first_segment_is_the_base_pipelines_own_clip(folder: Path) -> None:
    pipe = pipeline(folder)
    rollout = pipe.rollout(PROMPT, guidance_scale=5.0)
    state = rollout.begin(3)
    noise = rollout.generators(state).draw(rollout.latents_ahead(state))
    segment, _ = rollout.advance(state)
    torch.testing.assert_close(segment.latents, own_clip(pipe, noise, guidance_scale=5.0), rtol=0, atol=1e-5)


def test_without_guidance_it_is_the_base_pipelines_own_clip_as_well(folder: Path) -> None:
    pipe = pipeline(folder)
    pipe.base.scheduler = tiny.euler()
    rollout = pipe.rollout(PROMPT, guidance_scale=1.0)
    state = rollout.begin(3)
    noise = rollout.generators(state).draw(rollout.latents_ahead(state))
    segment, _ = rollout.advance(state)
    torch.testing.assert_close(segment.latents, own_clip(pipe, noise, guidance_scale=1.0), rtol=0, atol=1e-5)


def test_a_video_goes_on_for_as_long_as_is_asked(folder: Path) -> None:
    pipe = pipeline(folder)
    made = pipe(PROMPT, num_frames=50, generator=torch.Generator().manual_seed(0), output_type="pt").frames
    assert made.shape == (1, 50, 3, SIDE, SIDE)
    again = pipe(PROMPT, num_frames=90, generator=torch.Generator().manual_seed(0), output_type="pt").frames
    assert torch.equal(made, again[:, :50])


def test_in_half_precision_the_autoencoder_stays_in_single(folder: Path) -> None:
    pipe = load_adapted(folder, dtype=torch.bfloat16)
    pipe.settings |= USE | {"num_inference_steps": 1}
    rollout = pipe.rollout(PROMPT, guidance_scale=2.0)
    segment, _ = rollout.advance(rollout.begin(0))
    assert pipe.adapted.dtype == torch.bfloat16 and pipe.vae.dtype == torch.float32
    assert segment.frames.isfinite().all()


def test_what_going_on_takes_does_not_grow(folder: Path) -> None:
    rollout = pipeline(folder, num_inference_steps=1).rollout(PROMPT)
    states = [rollout.begin(0)]
    for _ in range(12):  # the decoder looks some 40 latent frames back
        states.append(rollout.advance(states[-1])[1])
    assert held_bytes(states[-1]) == held_bytes(states[-2])


@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_way_makes_video_with_a_base(folder: Path, name: str) -> None:
    rollout = build_rollout(name, pipeline(folder).rollout(PROMPT, guidance_scale=1.0))
    frames = sum(segment.frames.shape[1] for segment in rollout.stream(40, rollout.begin(0)))
    assert frames == 40


def test_an_image_and_a_video_are_gone_on_with(folder: Path) -> None:
    pipe = pipeline(folder)
    picture = torch.rand(3, SIDE, SIDE)
    made = pipe(PROMPT, num_frames=20, image=picture, output_type="pt").frames
    assert made.shape[1] == 20
    video = pipe(PROMPT, num_frames=40, video=torch.rand(17, 3, SIDE, SIDE), output_type="pt").frames
    assert video.shape[1] == 40


def test_a_session_on_a_base_is_saved_resumed_rewound_and_branched_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    pipe = pipeline(folder)
    session = Session.begin(pipe, PROMPT, seed=1)
    first = [session.advance().frames for _ in range(3)]
    session.save(tmp_path / "session")
    rest = [session.advance().frames for _ in range(2)]
    resumed = Session.load(tmp_path / "session", pipeline(folder))
    assert all(torch.equal(resumed.advance().frames, frames) for frames in rest)
    border = session.rewind(first[0].shape[1])
    assert torch.equal(session.advance().frames, first[1])
    other = session.branch(seed=9, at=border)
    assert not torch.equal(other.advance().frames, first[1])


def test_an_adapter_that_remembers_nothing_yet_leaves_the_first_segment_what_it_is(folder: Path) -> None:
    bare, adapted = pipeline(folder), AdaptedPipeline(tiny.wan(), {"memory": "slots", "segment_frames": 3}, USE)
    rollout = adapted.rollout(PROMPT, guidance_scale=5.0)
    segment, after = rollout.advance(rollout.begin(3))
    noise = rollout.generators(rollout.begin(3)).draw(3)
    torch.testing.assert_close(segment.latents, own_clip(bare, noise, guidance_scale=5.0), rtol=0, atol=1e-5)
    assert after.memory and segment.memory_bytes > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 40}, "32x40 does not fit this model; give sides that are multiples of 16"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt_embeds": torch.zeros(1, 2, 3)}, "prompt_embeds is not taken; give the prompt itself"),
        (
            {"negative_prompt": ["a", "b"], "guidance_scale": 5.0},
            "got 2 negative prompts for 1 prompt; give one, or one for each",
        ),
        (
            {"negative_prompt": "a wall", "guidance_scale": 1.0},
            "at guidance scale 1 the negative prompt would do nothing; leave it out, or give a guidance scale above 1",
        ),
        ({"num_inference_steps": 0}, "asked for 0 denoising steps; give at least 1"),
    ],
)
def test_what_a_base_cannot_do_is_said_in_a_sentence(folder: Path, wrong: dict[str, Any], message: str) -> None:
    settings = {"prompt": PROMPT} | wrong
    with pytest.raises(UsageError, match=re.escape(message)):
        pipeline(folder).rollout(settings.pop("prompt"), **settings)


@pytest.mark.parametrize("in_last_step", [False, True])
def test_an_adapter_may_remember_in_its_last_step_and_takes_one_pass_less(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_last_step: bool
) -> None:
    pipe = load_adapted(folder, tiny.saved_memory(tmp_path / "adapter"), dtype=torch.float32)
    pipe.settings["remembers_in_last_step"] = in_last_step
    passes = list[bool]()
    forward = type(pipe.transformer).forward

    def noting(self: Any, *given: Any, **told: Any) -> Any:
        passes.append(told.get("update_memory", True))
        return forward(self, *given, **told)

    monkeypatch.setattr(type(pipe.transformer), "forward", noting)
    rollout = pipe.rollout(PROMPT)
    _, state = rollout.advance(rollout.begin(3))
    assert passes == [False] * (STEPS - in_last_step) + [True]
    assert all(layer.valid.any() for layer in state.memory)
