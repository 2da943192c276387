"""Laws of every way to make a long video, on a tiny random pipeline: one seam, the same network, sampler and codec."""

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
import tiny_pipeline
from malt.diffusion.guidance import Guidance
from malt.diffusion.sampling import noise_levels
from malt.errors import MaltError, UsageError
from malt.memory.registry import KINDS
from malt.rollouts.base import Rollout, RolloutState, Segment, held_bytes
from malt.rollouts.diffusion_forcing import DiffusionForcingRollout
from malt.rollouts.full import FullRollout
from malt.rollouts.keyframes import KeyframesRollout
from malt.rollouts.malt import MaltRollout
from malt.rollouts.noise import video_seeds
from malt.rollouts.registry import ROLLOUTS, build_rollout
from malt.rollouts.sliding_window import SlidingWindowRollout
from tiny_pipeline import SEGMENT

RIVALS = [name for name in ROLLOUTS if name != "malt"]
STREAMING = [name for name in ROLLOUTS if name != "full"]  # a longer video begins with the shorter one
# The ways, and settings of them that differ from the default in kind.
WAYS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ROLLOUTS),
    ("sliding_window", {"window": 1}),
    ("keyframes", {"every": 3, "levels": 2}),
    ("diffusion_forcing", {"window": 1}),
    ("diffusion_forcing", {"window": 5}),
]


def build(name: str, settings: dict[str, Any] | None = None, prompts: int = 1, **model: Any) -> Rollout:
    """The way of this name, in one pass a step: without guidance."""
    return build_rollout(name, plain(prompts, **model), **settings or {})


def plain(prompts: int = 1, num_steps: int = tiny_pipeline.STEPS, **model: Any) -> MaltRollout:
    return tiny_pipeline.rollout(prompts, {"guidance_scale": 1.0, "num_inference_steps": num_steps}, **model)


def collect(rollout: Rollout, num_frames: int, progress: RolloutState | None = None) -> Tensor:
    progress = rollout.begin(seed=3) if progress is None else progress
    return torch.cat([segment.frames for segment in rollout.stream(num_frames, progress)], dim=1)


def prefilled(rollout: Rollout, frames: Tensor, actions: Tensor | None = None) -> RolloutState:
    """Where a video stands that begins with these frames."""
    return list(rollout.prefill(rollout.begin(3), frames, actions))[-1][1]


def tokens_of(rollout: Rollout, num_segments: int, progress: RolloutState | None = None) -> list[int]:
    """Frames, counted once for every forward pass that sees them, of each segment in turn."""
    seen: list[int] = []
    hook = tiny_pipeline.network(rollout).register_forward_pre_hook(
        lambda module, given: seen.append(given[0].shape[:2].numel())
    )
    counts, progress = [], rollout.begin(3) if progress is None else progress
    for _ in range(num_segments):
        seen.clear()
        _, progress = rollout.advance(progress)
        counts.append(sum(seen))
    hook.remove()
    return counts


@pytest.mark.parametrize(("name", "settings"), WAYS)
def test_segments_follow_one_another_and_make_exactly_the_frames_that_were_asked_for(
    name: str, settings: dict[str, Any]
) -> None:
    rollout = build(name, settings, prompts=2)
    segments = list(rollout.stream(2 * SEGMENT + 3, rollout.begin(3)))
    frames = torch.cat([segment.frames for segment in segments], dim=1)
    assert frames.shape == (2, 2 * SEGMENT + 3, 3, tiny_pipeline.SIDE, tiny_pipeline.SIDE)
    assert frames.abs().max() <= 1
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert segments[0].start == 0
    assert all(b.start == a.start + a.frames.shape[1] for a, b in pairwise(segments))
    assert all(segment.latents.shape[2:] == (tiny.CHANNELS, *[tiny_pipeline.LATENT_SIDE] * 2) for segment in segments)


@pytest.mark.parametrize(("name", "settings"), WAYS)
def test_the_same_seed_is_the_same_video_and_another_seed_another(name: str, settings: dict[str, Any]) -> None:
    rollout = build(name, settings)
    once = collect(rollout, 2 * SEGMENT)
    assert torch.equal(collect(build(name, settings), 2 * SEGMENT), once)
    assert not torch.allclose(collect(rollout, 2 * SEGMENT, rollout.begin(4)), once, atol=1e-3)


@pytest.mark.parametrize(("name", "settings"), WAYS)
def test_a_video_of_a_batch_is_the_video_that_it_would_be_alone(name: str, settings: dict[str, Any]) -> None:
    together, alone = build(name, settings, prompts=3), build(name, settings)
    videos = collect(together, 2 * SEGMENT, together.begin((3, 4, 3)))
    for seed, video in zip((3, 4, 3), videos, strict=True):
        torch.testing.assert_close(collect(alone, 2 * SEGMENT, alone.begin(seed))[0], video, rtol=0, atol=1e-3)
    assert not torch.allclose(videos[0], videos[1], atol=1e-2)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_batch_of_one_seed_begins_with_the_video_of_that_seed(name: str) -> None:
    together, alone = build(name, prompts=2), build(name)
    one, other = collect(together, SEGMENT)
    torch.testing.assert_close(collect(alone, SEGMENT)[0], one, rtol=0, atol=1e-3)
    second = alone.begin(video_seeds(3, batch=2)[1])
    torch.testing.assert_close(collect(alone, SEGMENT, second)[0], other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_seeds_that_are_not_one_a_video_are_refused(name: str) -> None:
    rollout = build(name, prompts=3)
    with pytest.raises(UsageError, match="got 2 seeds for 3 videos; give one for each"):
        rollout.advance(rollout.begin((1, 2)))


@pytest.mark.parametrize(("name", "settings"), [way for way in WAYS if way[0] in STREAMING])
def test_a_longer_video_begins_with_the_shorter_one(name: str, settings: dict[str, Any]) -> None:
    rollout = build(name, settings)
    longer = collect(rollout, 3 * SEGMENT)
    assert torch.equal(collect(rollout, SEGMENT + 3), longer[:, : SEGMENT + 3])


@pytest.mark.parametrize(("name", "settings"), WAYS)
def test_stopping_and_going_on_equals_never_stopping(name: str, settings: dict[str, Any]) -> None:
    rollout = build(name, settings)
    progress, pieces, halfway = rollout.begin(3), [], None
    for index in range(5):
        segment, progress = rollout.advance(progress)
        pieces.append(segment.frames)
        halfway = progress if index == 1 else halfway
    rest = torch.cat(pieces[2:], dim=1)
    assert halfway is not None
    assert torch.equal(collect(build(name, settings), rest.shape[1], halfway), rest)
    assert torch.equal(collect(rollout, rest.shape[1], halfway), rest), "a progress was changed by going on from it"


@pytest.mark.parametrize(("name", "settings"), WAYS)
def test_given_frames_come_first_and_change_the_future(name: str, settings: dict[str, Any]) -> None:
    rollout = build(name, settings)
    ones, others = (tiny_pipeline.video(2 * SEGMENT, seed, batch=(1,)) for seed in (0, 1))
    segments = [segment for segment, _ in rollout.prefill(rollout.begin(3), ones)]
    assert [segment.start for segment in segments] == [0, SEGMENT]
    here, elsewhere = prefilled(rollout, ones), prefilled(rollout, others)
    assert (here.start, here.index) == (2 * SEGMENT, 2)
    first = next(rollout.stream(SEGMENT, here))
    assert first.start == 2 * SEGMENT
    assert not torch.allclose(first.frames, next(rollout.stream(SEGMENT, elsewhere)).frames, atol=1e-4)


@pytest.mark.parametrize("name", STREAMING)
def test_frames_that_are_given_later_take_the_place_of_what_was_begun(name: str) -> None:
    rollout = build(name)
    _, here = rollout.advance(rollout.begin(3))
    given = list(rollout.prefill(here, tiny_pipeline.video(SEGMENT, batch=(1,))))[-1][1]
    assert given.start == here.start + SEGMENT
    assert not torch.allclose(collect(rollout, SEGMENT, given), collect(rollout, SEGMENT, here), atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), WAYS)
def test_what_is_done_changes_what_is_seen(name: str, settings: dict[str, Any]) -> None:
    rollout, calls = build(name, settings, action_dim=8), []

    def driven(action: float) -> Tensor:
        given = tiny_pipeline.video(SEGMENT, batch=(1,))
        here = prefilled(rollout, given, torch.zeros(1, SEGMENT, 2))

        def drive(segment: Segment | None, count: int) -> Tensor:
            calls.append(None if segment is None else segment.index)
            return torch.full((1, count, 2), action)

        return torch.cat([segment.frames for segment in rollout.stream(3 * SEGMENT, here, drive)], dim=1)

    assert torch.equal(driven(0.5), driven(0.5))
    assert calls[:2] == [None, 1]
    assert not torch.allclose(driven(0.5), driven(-0.5), atol=1e-4)
    for actions in (None, torch.zeros(1, 3, 2)):
        with pytest.raises(UsageError, match="actions"):
            rollout.advance(rollout.begin(0), actions)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_each_prompt_of_a_batch_has_its_own_video(name: str) -> None:
    pipeline = tiny_pipeline.pipeline()
    prompts = ["a red circle", "a blue square at night"]
    together = collect(build_rollout(name, pipeline.rollout(prompts)), 2 * SEGMENT)
    changed = collect(build_rollout(name, pipeline.rollout([prompts[0], "a small pink cross"])), 2 * SEGMENT)
    assert [torch.equal(a, b) for a, b in zip(together, changed, strict=True)] == [True, False]


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_any_memory_serves_every_way_and_its_memory_is_never_looked_at(name: str, kind: str) -> None:
    rollout = build(name, memory=kind)
    seen: list[bool] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.extend(bool(state.valid.any()) for state in given[2])

    tiny_pipeline.network(rollout).register_forward_pre_hook(note)
    collect(rollout, 2 * SEGMENT)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("name", RIVALS)
def test_guidance_towards_a_memory_that_is_not_there_costs_nothing_and_that_towards_the_text_remains(name: str) -> None:
    base = tiny_pipeline.rollout()
    unguided, text, both = (
        build_rollout(name, replace(base, guidance=Guidance(text=w, memory=m)))
        for w, m in ((1.0, 1.0), (2.0, 1.0), (2.0, 3.0))
    )
    assert torch.equal(collect(text, SEGMENT), collect(both, SEGMENT))
    assert not torch.allclose(collect(text, SEGMENT), collect(unguided, SEGMENT), atol=1e-4)
    assert tokens_of(both, 1) == tokens_of(text, 1) == [2 * count for count in tokens_of(unguided, 1)]


@pytest.mark.parametrize("name", ["sliding_window", "full"])
def test_a_video_begins_as_malt_begins_it_without_memory(name: str) -> None:
    base = tiny_pipeline.rollout(memory="none")
    torch.testing.assert_close(collect(build_rollout(name, base), SEGMENT), collect(base, SEGMENT))


def test_a_window_of_the_context_alone_is_malt_without_memory() -> None:
    base = tiny_pipeline.rollout(memory="none")
    assert torch.equal(collect(build_rollout("sliding_window", base), 3 * SEGMENT), collect(base, 3 * SEGMENT))


@pytest.mark.parametrize("name", ["malt", "sliding_window", "diffusion_forcing"])
def test_the_cost_of_a_segment_does_not_depend_on_how_long_the_video_is(name: str) -> None:
    counts = tokens_of(build(name), 8)
    assert len(set(counts[3:])) == 1
    assert max(counts[1:]) == counts[3]


def test_the_cost_of_key_frames_is_the_same_for_every_plan() -> None:
    rollout = build("keyframes")
    first, *others = (sum(counts) for counts in _in_twos(tokens_of(rollout, 8)))
    assert set(others) == {first}


def _in_twos(counts: list[int]) -> list[list[int]]:
    return [counts[n : n + tiny.FRAMES] for n in range(0, len(counts), tiny.FRAMES)]  # key frames come FRAMES at a time


def test_the_cost_of_full_grows_with_the_video_and_making_it_once_costs_what_its_last_segment_does() -> None:
    rollout = build("full")
    assert isinstance(rollout, FullRollout)
    steps, context = rollout.base.num_steps, rollout.base.transformer.context_frames
    assert tokens_of(rollout, 4) == [steps * (context + n * tiny.FRAMES) for n in (1, 2, 3, 4)]
    seen: list[int] = []
    tiny_pipeline.network(rollout).register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    rollout.whole(4 * SEGMENT, rollout.begin(3))
    assert seen == [context + 4 * tiny.FRAMES] * steps


@pytest.mark.parametrize("given", [0, SEGMENT + 4])
def test_a_whole_video_ends_with_what_a_stream_of_the_same_length_ends_with(given: int) -> None:
    rollout = build("full")
    assert isinstance(rollout, FullRollout)
    here = prefilled(rollout, tiny_pipeline.video(given, batch=(1,))) if given else rollout.begin(3)
    *_, last = rollout.stream(3 * SEGMENT, here)
    whole = rollout.whole(3 * SEGMENT, here)
    assert (whole.start, whole.frames.shape[1]) == (given, 3 * SEGMENT)
    torch.testing.assert_close(whole.frames[:, -SEGMENT:], last.frames)
    assert rollout.whole(5, here).latents.shape[1] == 2
    assert not torch.allclose(rollout.whole(SEGMENT, here).frames, whole.frames[:, :SEGMENT], atol=1e-4)


def test_a_full_video_is_begun_only_once() -> None:
    rollout = build("full")
    assert isinstance(rollout, FullRollout)
    _, here = rollout.advance(rollout.begin(3))
    with pytest.raises(UsageError, match="begin anew"):
        rollout.prefill(here, tiny_pipeline.video(SEGMENT, batch=(1,)))
    with pytest.raises(UsageError, match="nothing is made yet"):
        rollout.whole(SEGMENT, here)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_what_is_held_to_go_on_has_a_bound_but_for_given_frames_of_full(name: str) -> None:
    rollout = build(name)
    held, progress = [], rollout.begin(3)
    for _ in range(8):
        segment, progress = rollout.advance(progress)
        held.append(held_bytes(progress))
        if name != "malt":
            assert segment.memory_bytes == held_bytes((progress.tail, progress.tail_actions, progress.ahead))
    assert held[7] == held[5]
    assert max(held) == max(held[:4])


def test_bytes_that_are_held_are_counted_wherever_they_are() -> None:
    eight = torch.zeros(2)
    assert held_bytes((eight, [eight, {"cache": eight}], None, 5)) == 24
    assert held_bytes(Segment(0, 0, torch.zeros(1, 2, 3, 4, 4), torch.zeros(1, 1, 3, 2, 2))) == 4 * (96 + 12)


@pytest.mark.parametrize("window", [1, 2, 3, 20])
def test_a_window_sees_so_many_frames_and_no_more(window: int) -> None:
    rollout = build("sliding_window", {"window": window})
    assert isinstance(rollout, SlidingWindowRollout)
    here = prefilled(rollout, tiny_pipeline.video(6 * SEGMENT, batch=(1,)))
    assert here.tail is not None
    assert here.tail.shape[1] == min(window, 6 * tiny.FRAMES)
    assert tokens_of(rollout, 1, here) == [rollout.base.num_steps * (min(window, 12) + tiny.FRAMES)]
    own, other = (rollout.advance(replace(here, tail=tail))[0] for tail in (here.tail, _changed_first(here.tail)))
    assert not torch.allclose(own.latents, other.latents, atol=1e-5)


def _changed_first(tail: Tensor) -> Tensor:
    return torch.cat([tail[:, :1] + 1.0, tail[:, 1:]], dim=1)


def test_by_default_a_window_has_as_many_tokens_in_view_as_malt_with_its_memory() -> None:
    base = tiny_pipeline.rollout()
    window = build_rollout("sliding_window", base)
    assert isinstance(window, SlidingWindowRollout)
    remembered = base.begin(0).memory[0].tokens.shape[1] // (tiny_pipeline.LATENT_SIDE // 2) ** 2
    assert window.num_kept == base.transformer.context_frames + remembered


def levels_of(rollout: Rollout, progress: RolloutState) -> list[list[float]]:
    """The noise levels of the frames in every pass of the next segment."""
    levels: list[list[float]] = []
    hook = tiny_pipeline.network(rollout).register_forward_pre_hook(
        lambda module, given: levels.append(given[1][0].tolist())
    )
    rollout.advance(progress)
    hook.remove()
    return levels


def test_key_frames_come_first_and_stand_clean_behind_those_between_them() -> None:
    rollout = build("keyframes", {"every": 3})
    levels = levels_of(rollout, rollout.begin(3))
    assert [len(level) for level in levels] == [
        3,
        3,
        4,
        4,
    ]  # context and two key frames, then two frames before a key frame
    assert [level[0] for level in levels] == [1.0] * 4  # nothing is known before
    assert [level[-1] for level in levels[2:]] == [0.0, 0.0]
    _, here = rollout.advance(rollout.begin(3))
    assert [(level[0], level[-1]) for level in levels_of(rollout, here)] == [(0.0, 0.0)] * 2  # the key frame was ahead


def test_a_segment_ends_with_the_key_frame_that_was_made_before_it() -> None:
    rollout = build("keyframes", {"every": 3})
    _, here = rollout.advance(rollout.begin(3))
    (keys,) = here.ahead
    segment, _ = rollout.advance(here)
    assert segment.latents.shape[1] == 3
    assert torch.equal(segment.latents[:, -1:], keys[:, :1])


def test_key_frames_of_key_frames_are_made_when_those_ahead_are_used_up() -> None:
    rollout = build("keyframes", {"every": 2, "levels": 2})
    passes, progress = [], rollout.begin(3)
    for _ in range(8):
        passes.append(len(levels_of(rollout, progress)) // 2)
        _, progress = rollout.advance(progress)
    assert passes == [3, 1, 2, 1, 3, 1, 2, 1]


@pytest.mark.parametrize("context_frames", [0, 1, 3])
def test_key_frames_look_back_as_far_apart_as_they_are(context_frames: int) -> None:
    rollout = build("keyframes", {"every": 2, "levels": 2}, context_frames=context_frames)
    here = prefilled(rollout, tiny_pipeline.video(8 * SEGMENT, batch=(1,)))
    assert here.tail is not None
    assert here.tail.shape[1] == 4 * (max(1, context_frames) - 1) + 1
    own, other = (rollout.advance(replace(here, tail=tail))[0] for tail in (here.tail, _changed_first(here.tail)))
    assert not torch.allclose(own.latents, other.latents, atol=1e-5)


def test_frames_of_a_rolling_window_stand_on_a_staircase() -> None:
    base = plain(num_steps=4)
    rollout = build_rollout("diffusion_forcing", base, window=4)
    one, high, low, least, nothing = noise_levels(base.scheduler, 4).tolist()
    assert (one, nothing) == (1.0, 0.0)
    first = levels_of(rollout, rollout.begin(3))
    stairs = [[one] * 4, [high, one, one, one], [low, high, one, one], [least, low, high, one]]
    assert [level[1:] for level in first] == [*stairs, stairs[-1]]
    _, here = rollout.advance(rollout.begin(3))
    assert levels_of(rollout, here) == [[0.0, least, low, high, one]] * tiny.FRAMES


@pytest.mark.parametrize(("num_steps", "window", "turns"), [(12, 4, 3), (12, 12, 1), (2, 4, 1), (12, 5, 2)])
def test_a_frame_takes_as_nearly_the_steps_that_were_asked_for_as_the_window_allows(
    num_steps: int, window: int, turns: int
) -> None:
    base = plain(num_steps=num_steps)
    rollout = build_rollout("diffusion_forcing", base, window=window)
    assert isinstance(rollout, DiffusionForcingRollout)
    _, here = rollout.advance(rollout.begin(3))
    assert tokens_of(rollout, 1, here) == [tiny.FRAMES * turns * (window + base.transformer.context_frames)]


@pytest.mark.parametrize("name", ROLLOUTS)
def test_noise_on_the_context_is_told_to_the_model(name: str) -> None:
    base = replace(tiny_pipeline.rollout(), context_noise=0.25)
    rollout = build_rollout(name, base)
    here = prefilled(rollout, tiny_pipeline.video(2 * SEGMENT, batch=(1,)))
    if name == "malt":
        rollout = replace(base, memory_update_interval=1000)
        here = replace(here, index=1)
        levels: list[list[float]] = []
        tiny_pipeline.network(rollout).register_forward_pre_hook(
            lambda module, given: levels.append(given[1][0].tolist())
        )
        rollout.advance(here)
    else:
        levels = levels_of(rollout, here)
    assert {level[0] for level in levels} == {0.25}


@pytest.mark.parametrize("name", ROLLOUTS)
def test_output_that_is_not_finite_is_said_in_a_sentence(name: str) -> None:
    rollout = build(name)
    tiny_pipeline.network(rollout).proj_out.bias.data.fill_(float("nan"))
    with pytest.raises(MaltError, match="output in segment 0 is not finite"):
        rollout.advance(rollout.begin(3))


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_stream_makes_a_segment_only_when_it_is_asked_for(name: str) -> None:
    rollout = build(name)
    first, second = islice(rollout.stream(10**9, rollout.begin(3)), 2)
    assert second.start == first.frames.shape[1]


def test_malt_is_the_base_itself_and_takes_its_settings() -> None:
    base = tiny_pipeline.rollout()
    assert build_rollout("malt", base) is base
    assert build_rollout("malt", base, memory_update_interval=2) == replace(base, memory_update_interval=2)


@pytest.mark.parametrize("name", RIVALS)
def test_told_again_in_other_words_a_video_without_memory_is_the_same(name: str) -> None:
    rollout = build(name)
    _, here = rollout.advance(rollout.begin(3))
    assert rollout.rebuild_memory(here) is here


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        (
            "sliding_windw",
            {},
            "no rollout called 'sliding_windw', did you mean 'sliding_window'; choose one of malt, full",
        ),
        ("zzz", {}, "no rollout called 'zzz'; choose one of malt, full, sliding_window, keyframes, diffusion_forcing"),
        ("sliding_window", {"windw": 2}, "no setting called 'windw', did you mean 'window'; it takes window"),
        ("full", {"window": 2}, "full has no setting called 'window'; it takes none"),
        ("sliding_window", {"window": 0}, "asked for a window of 0 latent frames; give at least 1"),
        ("diffusion_forcing", {"window": 0}, "asked for a window of 0 latent frames; give at least 1"),
        ("keyframes", {"every": 1}, "give at least 2"),
        ("keyframes", {"levels": 0}, "asked for 0 levels of key frames; give at least 1"),
        ("malt", {"num_steps": 0}, "asked for 0 denoising steps; give at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build_rollout(name, tiny_pipeline.rollout(), **settings)


def test_key_frames_are_as_far_apart_as_a_segment_is_long() -> None:
    rollout = build("keyframes")
    assert isinstance(rollout, KeyframesRollout)
    assert rollout.frames_ahead(rollout.begin(3)) == SEGMENT
