"""Laws of the curriculum of the recipe `videos`, and of how it is brought to the videos that there are."""

from dataclasses import replace

import pytest
import torch

from malt.errors import UsageError
from malt.training.objectives.curriculum import METHOD_FRAMES, Stage
from malt.training.recipes import RECIPES, resolve
from malt.training.sources.fit_curriculum import fit_to_videos
from tiny_examples import asked, captioned, curriculum

SEGMENT, CONTEXT = 4, 1  # latent frames
VIDEOS = RECIPES["videos"]()


def told(sentences: list[str], longest: int | None, stages: tuple[Stage, ...] = VIDEOS.curriculum) -> tuple[Stage, ...]:
    return fit_to_videos(stages, longest, SEGMENT, CONTEXT, sentences.append)


def unrolls(stages: tuple[Stage, ...]) -> list[int]:
    return [stage.objectives[-1].unroll.num_segments for stage in stages]


def test_the_recipe_for_one_s_own_videos_has_the_stages_of_the_method() -> None:
    assert [16 * count for count in unrolls(VIDEOS.curriculum)] == list(METHOD_FRAMES) == [64, 128, 256, 512, 1024]
    assert VIDEOS.curriculum[-1].until == VIDEOS.optimization.num_steps


def test_its_stages_may_be_set_by_options() -> None:
    options = {"curriculum.4.objectives.1.num-segments": ["20"], "optimization.num-steps": ["50"]}
    found = resolve(VIDEOS, {"optimization.num-steps": ["50"]})
    assert [stage.until for stage in found.curriculum] == [19, 30, 39, 45, 50]
    found = resolve(VIDEOS, {name: words for name, words in options.items() if name.startswith("curriculum")})
    assert unrolls(found.curriculum) == [4, 8, 16, 32, 20]


def test_videos_that_are_long_enough_change_nothing() -> None:
    sentences: list[str] = []
    for longest in (None, 64 * SEGMENT + CONTEXT, 10_000):
        assert told(sentences, longest) == VIDEOS.curriculum
    assert not sentences


def test_unrolls_are_cut_to_the_longest_video_and_it_is_said_once() -> None:
    sentences: list[str] = []
    found = told(sentences, 20 * SEGMENT + CONTEXT + SEGMENT - 1)
    assert unrolls(found) == [4, 8, 16, 20, 20]
    assert [stage.until for stage in found] == [stage.until for stage in VIDEOS.curriculum]
    (sentence,) = sentences
    assert "the longest video has 84 latent frames, so unrolls of 32, 64 segments are cut" in sentence


def test_key_frames_need_longer_videos() -> None:
    stages = (Stage(until=1, objectives=(asked(num_segments=3, frame_stride=4),)),)
    assert unrolls(told([], 4 * (2 * SEGMENT + CONTEXT), stages)) == [2]


def test_videos_shorter_than_a_segment_and_its_context_are_refused() -> None:
    with pytest.raises(UsageError, match="the longest video has 4 latent frames and 5 are needed"):
        told([], SEGMENT)


def test_a_step_of_the_last_stage_keeps_no_more_for_its_gradients_than_one_of_the_first() -> None:
    """Bytes that autograd holds when the loss is known, of tensors that are not the model's own."""
    model = captioned()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = []
    for stage in (VIDEOS.curriculum[0], VIDEOS.curriculum[-1]):
        small = replace(stage, objectives=(replace(stage.objectives[-1], batch_size=3),))
        found: dict[int, int] = {}

        def keep(tensor: torch.Tensor, found: dict[int, int] = found) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss, _ = curriculum((small,), model=model).loss(0)
        kept.append(sum(found.values()))
        del loss
    assert kept[1] <= 1.1 * kept[0]
