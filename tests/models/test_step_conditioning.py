"""Laws of what a distilled model is told of a step."""

import pytest
import torch

import tiny
from malt.models.step_conditioning import NAMES, StepConditioning
from malt.models.transformer import MaltTransformer3DModel

DISTILLED: dict[str, list[float]] = {
    "guidance_scale": [1.0, 5.0],
    "memory_guidance_scale": [1.0, 3.0],
    "num_inference_steps": [1, 4],
}


def told(following: float = 0.5, text: float = 2.0, memory: float = 1.5) -> dict[str, torch.Tensor]:
    return {
        name: torch.full((tiny.BATCH,), value) for name, value in zip(NAMES, (following, text, memory), strict=True)
    }


def test_a_distilled_model_begins_as_the_model_that_it_was() -> None:
    plain, student = tiny.transformer(), tiny.transformer(distilled=DISTILLED)
    missing, others = student.load_state_dict(plain.state_dict(), strict=False)
    assert not others and {name.split(".")[0] for name in missing} == {"step_conditioning"}
    fresh = MaltTransformer3DModel(**dict(student.config))
    assert student.step_conditioning is not None and fresh.step_conditioning is not None
    student.step_conditioning.load_state_dict(fresh.step_conditioning.state_dict())  # as it begins
    expected = plain(memory=None, **tiny.segment()).velocity
    assert torch.equal(student(memory=None, **tiny.segment(), added_conditions=told()).velocity, expected)


@pytest.mark.parametrize("other", [told(following=0.1), told(text=3.0), told(memory=2.5)])
def test_whatever_a_step_is_told_has_influence(other: dict[str, torch.Tensor]) -> None:
    model = tiny.transformer(distilled=DISTILLED)
    one, another = (model(memory=None, **tiny.segment(), added_conditions=added).velocity for added in (told(), other))
    assert not torch.allclose(one, another)


def test_a_pass_that_remembers_is_told_nothing() -> None:
    model, plain = tiny.transformer(distilled=DISTILLED), tiny.transformer()
    plain.load_state_dict(model.state_dict(), strict=False)
    expected = tiny.remember(plain, 2)
    for one, other in zip(tiny.remember(model, 2), expected, strict=True):
        assert torch.equal(one.tokens, other.tokens)


def test_a_step_that_lacks_something_is_refused() -> None:
    conditioning = StepConditioning(8, DISTILLED)
    with pytest.raises(ValueError, match="next_timestep"):
        conditioning({"guidance_scale": torch.ones(1)})


def test_a_model_that_was_not_distilled_is_told_of_no_steps() -> None:
    with pytest.raises(ValueError, match="takes no next_timestep"):
        tiny.transformer()(memory=None, **tiny.segment(), added_conditions=told())


def test_a_scale_of_which_there_is_only_one_is_no_division_by_nothing() -> None:
    one = StepConditioning(8, DISTILLED | {"guidance_scale": [1.0, 1.0]})
    assert torch.isfinite(one(told(text=1.0))).all()
