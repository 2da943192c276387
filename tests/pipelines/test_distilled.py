"""Laws of a pipeline whose model makes a segment in few passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler

import tiny_pipeline
from malt.errors import UsageError
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.registry import build_rollout
from malt.sessions.session import Session
from malt.sessions.storage import load_session, save_session

DISTILLED = {"guidance_scale": [1.0, 5.0], "memory_guidance_scale": [1.0, 3.0], "num_inference_steps": [2, 4]}
SCALES = {"guidance_scale": 3.0, "memory_guidance_scale": 2.0}


def pipeline() -> MaltPipeline:
    return tiny_pipeline.pipeline(settings=SCALES, distilled=DISTILLED)


def passes_of(pipe: MaltPipeline) -> list[int]:
    """The batch of every pass from now on."""
    passes: list[int] = []
    tiny_pipeline.network(pipe).register_forward_pre_hook(lambda _module, given: passes.append(len(given[0])))
    return passes


def video(pipe: MaltPipeline, **settings: Any) -> torch.Tensor:
    frames = pipe.stream(
        tiny_pipeline.PROMPT, 2 * tiny_pipeline.SEGMENT, generator=torch.Generator().manual_seed(0), **settings
    )
    return torch.cat([segment.frames for segment in frames], dim=1)


@pytest.mark.parametrize(
    ("settings", "each"), [({}, 1), ({"guidance_scale": 4.0}, 1), ({"negative_prompt": "a blue square"}, 2)]
)
def test_a_step_is_one_pass_whatever_the_scales_and_two_with_a_negative_prompt(
    settings: dict[str, Any], each: int
) -> None:
    pipe = pipeline()
    passes = passes_of(pipe)
    video(pipe, num_inference_steps=4, **settings)
    assert passes == 2 * [*[each] * 4, 1]  # four steps, and one pass that remembers


@pytest.mark.parametrize("name", ["guidance_scale", "memory_guidance_scale"])
def test_the_scales_have_influence_though_they_cost_no_pass(name: str) -> None:
    assert not torch.allclose(video(pipeline()), video(pipeline(), **{name: 1.5}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"guidance_scale": 9.0}, "the guidance scale is 9, and this distilled model was made for 1 to 5"),
        (
            {"memory_guidance_scale": 0.0},
            "the memory guidance scale is 0, and this distilled model was made for 1 to 3",
        ),
    ],
)
def test_a_scale_that_it_was_not_made_for_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pipeline().rollout(tiny_pipeline.PROMPT, **settings)


def test_a_scheduler_that_mixes_steps_is_refused() -> None:
    pipe = pipeline()
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(UsageError, match="UniPCMultistepScheduler would mix"):
        pipe.rollout(tiny_pipeline.PROMPT)


@pytest.mark.parametrize("name", ["keyframes", "diffusion_forcing"])
def test_a_way_whose_frames_stand_at_several_levels_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has frames at several noise levels"):
        build_rollout(name, pipeline().rollout(tiny_pipeline.PROMPT))


@pytest.mark.parametrize("name", ["sliding_window", "full"])
def test_other_ways_of_whole_segments_work_in_single_passes(name: str) -> None:
    pipe = pipeline()
    rollout, passes = build_rollout(name, pipe.rollout(tiny_pipeline.PROMPT)), passes_of(pipe)
    rollout.advance(rollout.begin(0))
    assert passes == [1, 1]


def test_a_saved_student_makes_the_same_video(tmp_path: Path) -> None:
    pipe = pipeline()
    pipe.save_pretrained(tmp_path)
    assert torch.equal(video(load_pipeline(tmp_path)), video(pipe))
    assert torch.equal(video(MaltPipeline.from_pretrained(tmp_path)), video(pipe))


def test_a_session_goes_on_and_branches_to_the_bit(tmp_path: Path) -> None:
    pipe = pipeline()
    whole = Session.begin(pipe, tiny_pipeline.PROMPT, seed=1)
    frames = [whole.advance().frames for _ in range(3)]
    session = Session.begin(pipe, tiny_pipeline.PROMPT, seed=1)
    session.advance()
    save_session(tmp_path, session.state)
    for other in (Session(pipe, load_session(tmp_path, pipe)), Session(pipe, session.state)):
        assert all(torch.equal(other.advance().frames, expected) for expected in frames[1:])
