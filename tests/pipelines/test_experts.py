"""Laws of a base of two transformers: its own pipeline's clip first, each with a memory of its own, both kept."""

from pathlib import Path

import pytest
import torch

import tiny_base_pipelines as tiny
from malt.adapters import AdaptedTransformer3DModel, add_memory, save_adapter
from malt.adapters.experts import TwoExperts
from malt.errors import UsageError
from malt.models.video_model import VideoModel
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.bases.wan_parts import WanParts
from malt.rollouts.base import RolloutState, Segment
from malt.sessions.session import Session
from tiny_base_pipelines import PROMPT, SIDE, USE

STEPS, SLOTS = 4, {"memory": "slots", "segment_frames": 3}


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WanParts, "num_frames", 17)


def pipeline(adapter: object = None, **settings: object) -> AdaptedPipeline:
    return AdaptedPipeline(tiny.two_expert_wan(), adapter, USE | {"num_inference_steps": STEPS} | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "late"), [(4.0, None), (4.0, 3.0), (1.0, None)])
def test_the_first_segment_is_the_base_pipelines_own_clip(scale: float, late: float | None) -> None:
    pipe = pipeline(guidance_scale=scale, **({} if late is None else {"guidance_scale_2": late}))
    assert isinstance(pipe.transformer, TwoExperts)
    rollout = pipe.rollout(PROMPT)
    state = rollout.begin(3)
    noise = rollout.generators(state).draw(rollout.latents_ahead(state))
    segment, _ = rollout.advance(state)
    size = {"height": SIDE, "width": SIDE, "num_frames": 17, "num_inference_steps": STEPS}
    guided = {"guidance_scale": scale, "guidance_scale_2": late}
    clip = pipe.base(PROMPT, latents=noise.transpose(1, 2).clone(), output_type="latent", **size, **guided).frames
    torch.testing.assert_close(segment.latents, clip.transpose(1, 2), rtol=0, atol=1e-5 * float(clip.abs().max()))


def test_both_make_steps_and_both_are_shown_what_is_finished() -> None:
    pipe, passes = pipeline(SLOTS), list[tuple[int, bool]]()
    for number, expert in enumerate(pipe.experts):
        expert.register_forward_pre_hook(lambda _, given, number=number: passes.append((number, given[8])))
    rollout = pipe.rollout(PROMPT)
    rollout.advance(rollout.advance(rollout.begin(0))[1])
    assert {number for number, updates in passes if not updates} == {0, 1}
    assert [number for number, updates in passes if updates] == [0, 1, 0, 1]


@pytest.mark.parametrize("steps", [1, STEPS])
def test_a_last_step_that_remembers_is_made_by_the_one_of_its_noise_level(steps: int) -> None:
    made, states = zip(
        *(_first(steps, remembers_in_last_step=in_last_step) for in_last_step in (False, True)), strict=True
    )
    torch.testing.assert_close(made[1].latents, made[0].latents)
    assert all(layer.valid.any() for layer in states[1].memory)


def _first(steps: int, **settings: object) -> tuple[Segment, RolloutState]:
    rollout = pipeline(SLOTS, num_inference_steps=steps, **settings).rollout(PROMPT)
    return rollout.advance(rollout.begin(3))


def test_each_has_a_memory_of_its_own() -> None:
    pipe = pipeline(SLOTS)
    rollout = pipe.rollout(PROMPT)
    _, state = rollout.advance(rollout.begin(0))
    count = len(pipe.experts[0].memory_modules())
    assert len(state.memory) == 2 * count and isinstance(pipe.transformer, VideoModel)
    assert not any(
        torch.equal(a.tokens, b.tokens) for a, b in zip(state.memory[:count], state.memory[count:], strict=True)
    )


def test_a_session_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    pipe = pipeline(SLOTS)
    session = Session.begin(pipe, PROMPT, seed=1)
    session.advance()
    session.save(tmp_path / "session")
    resumed = Session.load(tmp_path / "session", pipe)
    assert torch.equal(resumed.advance().frames, session.advance().frames)


def test_an_adapter_for_each_is_loaded_from_its_folder(tmp_path: Path) -> None:
    base = tiny.two_expert_wan()
    for name in ("transformer", "transformer_2"):
        adapted = add_memory(getattr(base, name), SLOTS)
        assert isinstance(adapted, AdaptedTransformer3DModel)
        for parameter in adapted.adapter.parameters():
            torch.nn.init.normal_(parameter)
        save_adapter(adapted, tmp_path / name, "a base")
    pipe = pipeline(tmp_path)
    first, second = (next(expert.adapter.parameters()) for expert in pipe.experts)
    assert not torch.equal(first, second)


def test_one_adapter_for_two_is_refused(tmp_path: Path) -> None:
    save_adapter(add_memory(tiny.wan().transformer, SLOTS), tmp_path, "a base")
    with pytest.raises(UsageError, match="the base has two transformers, and .* no adapter for each"):
        pipeline(tmp_path)
