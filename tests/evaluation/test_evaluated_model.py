"""Laws of what is measured: a rollout behind given frames, with its memory, without it and with another's."""

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import tiny_pipeline
from malt.evaluation.evaluated_model import EvaluatedModel, Request, collect, evaluated_model_of, make, stream_spans
from malt.rollouts.base import Segment
from malt.rollouts.registry import ROLLOUTS
from tiny_pipeline import SEGMENT

PROMPTS = [tiny_pipeline.PROMPT, "a blue square"]


@pytest.fixture(scope="module")
def model() -> EvaluatedModel:
    return evaluated_model_of(tiny_pipeline.pipeline())


def given(num_frames: int) -> Tensor:
    return torch.stack([tiny_pipeline.video(num_frames, seed) for seed in (1, 2)])


def test_it_makes_what_the_pipeline_makes(model: EvaluatedModel) -> None:
    rollout = tiny_pipeline.pipeline().rollout(PROMPTS)
    wanted = torch.cat([segment.frames for segment in rollout.stream(20, rollout.begin(5))], dim=1)
    assert torch.equal(make(model, Request(captions=PROMPTS, seed=5), 20), wanted)


@pytest.mark.parametrize("extra", [0, 3])
def test_frames_are_counted_from_the_end_of_the_given_ones(model: EvaluatedModel, extra: int) -> None:
    place = model.begin(Request(captions=PROMPTS, first=given(2 * SEGMENT + extra)))
    segments = list(place.stream(12))
    assert segments[0].start == 0
    assert collect(segments).shape[:2] == (2, 12)


def test_an_emptied_memory_is_not_the_same_and_another_video_is_its_own(model: EvaluatedModel) -> None:
    place = model.begin(Request(captions=[PROMPTS[0]] * 2, first=given(2 * SEGMENT)))
    kept, emptied, swapped = (collect(place.stream(SEGMENT, use)) for use in ("kept", "emptied", "swapped"))
    assert not torch.allclose(kept, emptied)
    assert not torch.allclose(kept, swapped)
    assert torch.equal(kept, collect(place.stream(SEGMENT)))


def test_a_swapped_memory_is_the_next_videos(model: EvaluatedModel) -> None:
    same = torch.stack([tiny_pipeline.video(2 * SEGMENT, 1)] * 2)
    place = model.begin(Request(captions=[PROMPTS[0]] * 2, first=same))
    assert torch.allclose(collect(place.stream(SEGMENT)), collect(place.stream(SEGMENT, "swapped")), atol=1e-5)


def test_a_model_without_memory_says_so() -> None:
    assert evaluated_model_of(tiny_pipeline.pipeline()).has_memory
    assert not evaluated_model_of(tiny_pipeline.pipeline(memory="none")).has_memory


def test_spans_of_a_stream_come_as_soon_as_they_are_made(model: EvaluatedModel) -> None:
    request = Request(captions=PROMPTS)
    whole, place = make(model, request, 30), model.begin(request)
    spans = list(stream_spans(place.stream(30), [(0, 5), (20, 30), (6, 18), (12, 18)]))
    assert [span for span, _ in spans] == [(0, 5), (6, 18), (12, 18), (20, 30)]
    for (first, last), found in spans:
        assert torch.equal(found, whole[:, first:last])


def test_of_a_film_of_any_length_no_more_is_held_than_its_open_spans() -> None:
    made: list[weakref.ref[Tensor]] = []

    def film() -> Iterator[Segment]:
        for n in range(0, 20_000, 100):
            frames = torch.zeros(1, 100, 3, 1, 1)
            made.append(weakref.ref(frames))
            assert sum(frame() is not None for frame in made) <= 5
            yield Segment(n // 100, n, frames, frames)

    spans = [(0, 256), (10_000, 10_256), (19_744, 20_000)]
    assert [videos.shape[1] for _, videos in stream_spans(film(), spans)] == [256] * 3


@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_way_to_make_a_video_can_be_measured(name: str) -> None:
    model = evaluated_model_of(tiny_pipeline.pipeline(), name)
    place = model.begin(Request(captions=PROMPTS, first=given(SEGMENT)))
    videos = collect(place.stream(2 * SEGMENT + 3))
    assert videos.shape == (2, 2 * SEGMENT + 3, 3, tiny_pipeline.SIDE, tiny_pipeline.SIDE)
    assert torch.equal(collect(place.stream(2 * SEGMENT + 3)), videos)
    assert (model.has_memory, model.extends) == (name == "malt", name != "full")


def test_actions_of_the_true_video_are_done_frame_by_frame() -> None:
    each = 4  # frames in a latent frame of the tiny autoencoder
    model = evaluated_model_of(tiny_pipeline.pipeline(action_dim=2 * each))
    chance = torch.Generator().manual_seed(0)
    actions = torch.randn(2, 4 * SEGMENT, 2, generator=chance)
    first = given(SEGMENT)

    def made(done: Tensor, num_frames: int = 2 * SEGMENT) -> Tensor:
        return make(model, Request(captions=PROMPTS, first=first, actions=done), num_frames)

    later = actions.clone()
    later[:, 2 * SEGMENT :] += 1
    assert torch.equal(made(actions)[:, :SEGMENT], made(later)[:, :SEGMENT])
    assert not torch.equal(made(actions)[:, SEGMENT:], made(later)[:, SEGMENT:])
    assert made(actions[:, : SEGMENT + 1]).shape[1] == 2 * SEGMENT  # beyond them the last one goes on


def test_where_somebody_could_act_and_nobody_is_asked_to_nothing_is_done() -> None:
    model = evaluated_model_of(tiny_pipeline.pipeline(action_dim=8))
    still = torch.zeros(2, 4 * SEGMENT, 2)
    for first in (None, given(SEGMENT)):
        idle = make(model, Request(captions=PROMPTS, first=first), SEGMENT + 3)
        assert torch.equal(idle, make(model, Request(captions=PROMPTS, first=first, actions=still), SEGMENT + 3))
    assert len(model.action_names) == 2
