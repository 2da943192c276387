"""Laws of objectives and of the curriculum that is made of them."""

from itertools import pairwise
from typing import Any

import pytest

from malt.training.objectives.curriculum import frames_curriculum
from tiny_examples import asked


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"num_segments": 0}, "num_segments is 0; give at least 1"),
        ({"batch_size": 0}, "batch_size is 0; give at least 1"),
        ({"denoise_segments": 0}, "denoise_segments is 0; give at least 1"),
        ({"num_steps": 0}, "num_steps is 0; give at least 1"),
        ({"bptt_segments": -1}, "bptt_segments is -1; give 0 or more"),
        ({"caption_dropout": 1.5}, "caption_dropout is 1.5; give a probability between 0 and 1"),
        ({"first_segment_prob": 2.0}, "first_segment_prob is 2.0; give a probability"),
        ({"memory_dropout": -0.1}, "memory_dropout is -0.1; give a probability"),
        ({"prob": 1.1}, "prob is 1.1; give a probability"),
        (
            {"noise_range": (0.8, 0.5)},
            "noise_range is .0.8, 0.5.; give two noise levels between 0 and 1, the lower first",
        ),
        ({"num_segments": 4, "far_segments": 1}, "far_segments is 1; give 0 to 0, those that are not denoised"),
        ({"memory_regularisation": 0.1, "bptt_segments": 0}, "give bptt_segments 1 or more"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused_in_a_sentence(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        asked(**setting)


def test_the_default_stages_are_the_method_s_with_the_segments_that_they_need() -> None:
    stages = frames_curriculum(frames_per_segment=16, steps=100)
    assert [stage.objectives[-1].unroll.num_segments for stage in stages] == [4, 8, 16, 32, 64]
    assert [stage.until for stage in stages] == [100, 200, 300, 400, 500]


def test_a_stage_has_no_fewer_frames_than_it_says() -> None:
    (stage,) = frames_curriculum((64,), frames_per_segment=12, steps=1)
    assert stage.objectives[-1].unroll.num_segments == 6


def test_every_default_stage_denoises_and_differentiates_as_much_as_the_first() -> None:
    stages = frames_curriculum(frames_per_segment=16, steps=1)
    unrolls = [objective.unroll for stage in stages for objective in stage.objectives]
    cost = {(u.num_denoised, u.num_segments - 1 - u.first_learned_write) for u in unrolls}
    assert cost == {(4, 3)}


def test_stages_last_as_long_as_each_is_given_from_where_they_start() -> None:
    stages = frames_curriculum((8, 16, 32), frames_per_segment=4, steps=(5, 6, 7), start=10)
    assert [stage.until for stage in stages] == [15, 21, 28]
    assert all(one.until < other.until for one, other in pairwise(stages))


def test_other_objectives_take_turns_with_the_walk() -> None:
    begin, unrolled = asked(first_segment_prob=1.0), asked(batch_size=2)
    stages = frames_curriculum((8, 16), frames_per_segment=4, steps=5, unrolled=unrolled, beside=(begin,))
    assert [[o.unroll.num_segments for o in stage.objectives] for stage in stages] == [[1, 2], [1, 4]]
    assert all(stage.objectives[1].batch_size == 2 for stage in stages)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"frames_per_segment": 0, "steps": 1}, "frames_per_segment is 0; give at least 1"),
        ({"frames_per_segment": 4, "steps": (1, 2)}, "5 stages and 2 counts of steps; give one count"),
    ],
)
def test_a_curriculum_that_makes_no_sense_is_refused_in_a_sentence(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        frames_curriculum(**setting)
