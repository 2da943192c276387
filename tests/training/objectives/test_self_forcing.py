"""Laws of learning from one's own segments."""

from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_pipeline
from malt.memory.protocol import ResidualMemory
from malt.memory.registry import KINDS
from malt.training.objectives.unroll import UnrolledMemory, unroll_memory
from tiny_examples import (
    EXACT,
    NOTHING_LOST,
    Examples,
    Settings,
    asked,
    captioned,
    chance,
    jolt,
    losses,
    task,
    untouched,
    window,
)

LATENTS = Examples()(0, 3, 6, 1, 0.0).latents


def walked(step: int = 0, latents: Tensor = LATENTS, **objective: Any) -> UnrolledMemory:
    wanted = asked(**{"num_segments": 3, "prob": 1.0, **objective, **NOTHING_LOST, **EXACT})
    return unroll_memory(untouched().transformer, window(untouched(), latents), wanted, chance(step))


@pytest.mark.parametrize("kind", KINDS)
def test_while_no_video_is_chosen_nothing_changes(kind: str) -> None:
    model = captioned(memory=kind)
    unlikely = task(model=model, num_segments=3, prob=1e-12)
    usual, same = task(model=model, num_segments=3).loss(0), unlikely.loss(0)
    assert torch.equal(usual[0], same[0])
    assert usual[1] == same[1]


def test_with_no_share_the_other_settings_of_own_segments_have_no_influence() -> None:
    assert losses(task(num_segments=3, num_steps=1, noise_range=(0.1, 0.2))) == losses(task(num_segments=3))


def test_own_segments_take_the_place_of_the_true_ones_but_not_of_the_context_before_them() -> None:
    seen = walked().seen
    assert torch.equal(seen[:, 0], LATENTS[:, 0])
    assert not any(torch.allclose(seen[v, frame], LATENTS[v, frame]) for v in range(3) for frame in range(1, 5))
    assert seen.shape[1] == 5  # the last segment is not walked


def test_the_memory_is_of_the_own_segments() -> None:
    own, true = walked().memory, walked(prob=0.0).memory
    for one, other in zip(own, true, strict=True):
        same = [torch.equal(a, b) for a, b in zip(one.tokens.chunk(3), other.tokens.chunk(3), strict=True)]
        assert same == [True, False, False]


def test_an_own_segment_from_little_noise_is_near_the_truth_and_from_none_is_the_truth() -> None:
    far, near, none = (
        (walked(noise_range=(level, level)).seen - LATENTS[:, :5]).square().mean().item() for level in (1.0, 0.05, 0.0)
    )
    assert none == 0 < near < 0.05 < far


def test_from_pure_noise_an_own_segment_does_not_know_the_true_one() -> None:
    pure: Settings = {"noise_range": (1.0, 1.0)}
    one, other = walked(**pure).seen, walked(latents=jolt(1, 2, 3, 4)(LATENTS), **pure).seen
    torch.testing.assert_close(one, other)
    assert not torch.allclose(walked().seen, walked(latents=jolt(1, 2, 3, 4)(LATENTS)).seen)


def test_an_own_segment_is_made_behind_the_own_segments_before_it() -> None:
    first = walked(num_segments=2).seen[:, 1:3]
    again, changed = (
        walked(latents=LATENTS + torch.tensor([0.0, size, size, 0, 0, 0, 0])[None, :, None, None, None]).seen
        for size in (0.0, 1.0)
    )
    assert torch.equal(again[:, 1:3], first)
    assert not torch.allclose(again[:, 3:5], changed[:, 3:5])


def test_whose_segments_are_own_is_decided_video_by_video() -> None:
    own: Settings = {"prob": 0.5, "num_segments": 2, "num_steps": 1}
    films = (walked(step, **own).seen for step in range(30))
    chosen = [sum(not torch.equal(*pair) for pair in zip(seen, LATENTS[:, :3], strict=True)) for seen in films]
    assert set(chosen) == {0, 1, 2, 3}


def test_the_context_of_a_film_that_begins_has_no_influence_on_its_own_segments() -> None:
    begun: Settings = {"num_segments": 3, "prob": 1.0, **NOTHING_LOST}
    usual, changed = (losses(task(Examples(change, begins=True), **begun)) for change in (None, jolt(0)))
    assert usual == changed


def test_what_is_learned_is_still_the_true_segment() -> None:
    model = captioned()
    for parameter in tiny_pipeline.network(model).proj_out.parameters():
        parameter.data.zero_()
    own, true = (losses(task(model=model, num_segments=3, prob=share)) for share in (1.0, 0.0))
    assert own == true  # a model that always says 0 errs by the true velocity, whatever it has seen


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_gradients_reach_the_writes_of_own_segments(kind: str) -> None:
    model = captioned(memory=kind)
    task(model=model, num_segments=3, prob=1.0, **NOTHING_LOST).loss(0)[0].backward()
    unmoved = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name.rsplit(".", 1)[-1] for name in unmoved} <= {"memory_mark"}
    assert bool(unmoved) == isinstance(tiny_pipeline.network(model).blocks[0].memory, ResidualMemory)


def test_without_a_memory_the_contexts_are_own_all_the_same() -> None:
    model = captioned(memory="none")
    own, true = (losses(task(model=model, num_segments=2, prob=share, **NOTHING_LOST)) for share in (1.0, 0.0))
    assert own[0] == true[0]
    assert own[1] != true[1]


def test_each_own_segment_costs_as_many_passes_as_it_has_steps() -> None:
    model, passes = captioned(), []
    tiny_pipeline.network(model).register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    task(model=model, num_segments=3, prob=1.0, num_steps=4).loss(0)
    assert passes == [*[False] * 4, True, *[False] * 4, True, True]
