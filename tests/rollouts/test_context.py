"""Laws of what stands before a segment."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import tiny
import tiny_pipeline
from malt.rollouts.context_frames import context_alongside
from malt.rollouts.malt import MaltRollout
from malt.rollouts.registry import ROLLOUTS, build_rollout

CONTEXT = 2


def noted(**settings: bool) -> tuple[MaltRollout, list[Tensor]]:
    """A rollout of a model without memory, and the noise levels of the frames of each of its passes."""
    model, levels = tiny.transformer(memory="none", context_frames=CONTEXT), list[Tensor]()
    model.register_forward_pre_hook(lambda _, given: levels.append(given[1]))
    return replace(tiny_pipeline.rollout(), transformer=model, **settings), levels


def test_a_video_that_begins_alone_has_nothing_before_it_and_makes_a_whole_window_first() -> None:
    rollout, levels = noted(begins_alone=True)
    first, state = rollout.advance(rollout.begin(0))
    assert first.latents.shape[1] == CONTEXT + tiny.FRAMES == levels[0].shape[1]
    second, _ = rollout.advance(state)
    assert second.latents.shape[1] == tiny.FRAMES
    assert levels[-2].shape[1] == CONTEXT + tiny.FRAMES


def test_a_context_that_follows_has_one_noise_level_with_the_segment_at_every_step() -> None:
    rollout, levels = noted(begins_alone=True, context_follows=True)
    rollout.advance(rollout.advance(rollout.begin(0))[1])
    assert all(torch.equal(each, each[:, :1].expand_as(each)) for each in levels)


def test_frames_that_follow_are_the_clean_ones_as_noisy_as_the_step() -> None:
    tail, noise = torch.full((1, 2, 1, 1, 1), 4.0), torch.ones(1, 2, 1, 1, 1)
    frames, levels = context_alongside(tail, noise)(0.25)
    assert frames.unique().tolist() == [0.75 * 4 + 0.25]
    assert levels.unique().tolist() == [0.25]


@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_way_can_begin_alone(name: str) -> None:
    rollout, _ = noted(begins_alone=True)
    built = build_rollout(name, rollout)
    frames = sum(segment.frames.shape[1] for segment in built.stream(30, built.begin(0)))
    assert frames == 30
