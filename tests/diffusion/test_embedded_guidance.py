"""Laws of guidance that is told instead of made in passes."""

import logging

import pytest
import torch

from malt.diffusion.caption import Caption
from malt.diffusion.embedded_guidance import EmbeddedGuidance, guidance_of, next_level
from malt.diffusion.guidance import Guidance
from malt.errors import UsageError
from malt.memory.state import Memory, State

DISTILLED: dict[str, list[float]] = {
    "guidance_scale": [1.0, 5.0],
    "memory_guidance_scale": [1.0, 3.0],
    "num_inference_steps": [1, 2, 4],
}
LEVELS = (1.0, 0.9, 0.75, 0.5, 0.0)
MEMORY = (State(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)),)
SAID, UNSAID = (Caption(torch.full((2, 5, 6), value), torch.ones(2, 5, dtype=torch.bool)) for value in (1.0, 0.0))


class Passes:
    """Notes what every pass was told."""

    def __init__(self) -> None:
        self.captions: list[Caption] = []

    def __call__(self, latents: torch.Tensor, level: torch.Tensor, memory: Memory, caption: Caption) -> torch.Tensor:
        self.captions.append(caption)
        said = caption.states[:, 0, 0] * caption.added["guidance_scale"]
        return said[:, None, None, None, None].expand_as(latents)


def asked(guidance: Guidance, level: float) -> tuple[torch.Tensor, Passes]:
    passes = Passes()
    guided = guidance.prepare(MEMORY, SAID, UNSAID)
    return guided.velocity(passes, torch.zeros(2, 4, 3, 2, 2), torch.full((2, 4), level)), passes


def test_a_step_is_one_pass_that_is_told_scales_and_where_it_leads() -> None:
    _, passes = asked(guidance_of(DISTILLED, LEVELS, text=3.0, memory=2.0), 0.9)
    (caption,) = passes.captions
    assert len(caption) == 2
    assert {name: tensor.tolist() for name, tensor in caption.added.items()} == {
        "guidance_scale": [3.0, 3.0],
        "memory_guidance_scale": [2.0, 2.0],
        "next_timestep": [0.75, 0.75],
    }


def test_a_negative_prompt_costs_a_second_pass_and_is_led_away_from() -> None:
    guidance = guidance_of(DISTILLED, LEVELS, text=3.0, memory=2.0, avoids=True)
    velocity, passes = asked(guidance, 1.0)
    (caption,) = passes.captions
    assert len(caption) == 4 and set(caption.added["guidance_scale"].tolist()) == {1.0}
    assert set(velocity.flatten().tolist()) == {3.0}  # 3 of what is said at 1, -2 of what is unsaid at 0


def test_a_level_is_followed_by_the_next_below_it_and_the_last_by_none() -> None:
    levels = torch.tensor([1.0, 0.95, 0.9, 0.5, 0.4, 0.0])
    assert next_level(LEVELS, levels).tolist() == pytest.approx([0.9, 0.9, 0.75, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("scales", "says"),
    [
        ({"text": 5.5, "memory": 1.0}, "guidance scale is 5.5"),
        ({"text": 1.0, "memory": 0.5}, "memory guidance scale is 0.5"),
    ],
)
def test_a_scale_outside_the_range_is_refused(scales: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=f"{says}, and this distilled model was made for 1 to"):
        guidance_of(DISTILLED, LEVELS, **scales)


def test_other_steps_than_it_was_made_for_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            guidance_of(DISTILLED, torch.linspace(1, 0, 8).tolist(), text=1.0, memory=1.0)
        guidance_of(DISTILLED, LEVELS, text=1.0, memory=1.0)
    (warning,) = caplog.messages
    assert warning == "this distilled model was made for 1, 2 or 4 steps, not for 7; the video may be worse"


def test_a_model_that_was_not_distilled_is_guided_by_passes() -> None:
    guidance = guidance_of(None, (), text=7.0, memory=0.5)
    assert type(guidance) is Guidance and not isinstance(guidance, EmbeddedGuidance)
