"""Laws of MALT's rollout, on a tiny random pipeline."""

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny_pipeline
from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guidance
from malt.errors import MaltError, UsageError
from malt.memory.protocol import Conditions, ContextMemory, Layout
from malt.memory.registry import KINDS
from malt.memory.state import Memory, num_bytes
from malt.rollouts.base import RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from tiny_pipeline import SEGMENT

MEMORIES = [kind for kind in KINDS if kind != "none"]


@pytest.fixture
def rollout() -> MaltRollout:
    return tiny_pipeline.rollout()


def collect(rollout: MaltRollout, num_frames: int, progress: RolloutState | None = None) -> Tensor:
    progress = rollout.begin(seed=3) if progress is None else progress
    return torch.cat([segment.frames for segment in rollout.stream(num_frames, progress)], dim=1)


def after(rollout: MaltRollout, num_segments: int, seed: int = 3) -> RolloutState:
    """Where a video stands after so many segments."""
    progress = rollout.begin(seed)
    for _ in range(num_segments):
        _, progress = rollout.advance(progress)
    return progress


def prefilled(rollout: MaltRollout, frames: Tensor) -> tuple[list[Segment], list[RolloutState]]:
    segments, progresses = zip(*rollout.prefill(rollout.begin(3), frames), strict=True)
    return list(segments), list(progresses)


def equal(one: Memory, other: Memory) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_video_begins_with_the_shorter_one(kind: str) -> None:
    rollout = tiny_pipeline.rollout(memory=kind)
    longer = collect(rollout, 3 * SEGMENT)
    for num_frames in (1, SEGMENT + 3):
        assert torch.equal(collect(rollout, num_frames), longer[:, :num_frames])


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_and_going_on_equals_never_stopping(kind: str) -> None:
    rollout = tiny_pipeline.rollout(memory=kind)
    whole, stopped = collect(rollout, 3 * SEGMENT), after(rollout, 1)
    again = tiny_pipeline.rollout(memory=kind)
    assert torch.equal(collect(again, 2 * SEGMENT, stopped), whole[:, SEGMENT:])


@pytest.mark.parametrize("scales", [{}, {"guidance_scale": 3.0, "memory_guidance_scale": 2.0}])
@pytest.mark.parametrize("kind", MEMORIES)
def test_what_the_steps_made_of_the_memory_serves_the_pass_that_remembers(kind: str, scales: dict[str, float]) -> None:
    rollout = tiny_pipeline.rollout(prompts=2, settings=scales, memory=kind)
    given, model = [], tiny_pipeline.network(rollout)
    model.register_forward_pre_hook(lambda _, __, named: given.append(named), with_kwargs=True)
    state = after(rollout, 3)
    segment, later = rollout.advance(state)
    assert given[-1]["cache"] is not None
    clean = torch.zeros(segment.latents.shape[:2])
    alone = model(segment.latents, clean, state.memory, **rollout.caption.arguments).memory
    for stored, expected in zip(later.memory, alone, strict=True):
        torch.testing.assert_close(
            stored.tokens.float(), expected.tokens.float(), atol=2e-3, rtol=2e-3
        )  # kept in half precision
        assert torch.equal(stored.valid, expected.valid)


def test_a_stream_makes_a_segment_only_when_it_is_asked_for(rollout: MaltRollout) -> None:
    calls = []
    tiny_pipeline.network(rollout).register_forward_pre_hook(lambda *given: calls.append(1))
    endless = rollout.stream(10**9, rollout.begin(3))
    assert not calls
    first, second = islice(endless, 2)
    assert (first.index, first.start, second.index, second.start) == (0, 0, 1, SEGMENT)
    assert len(calls) == 2 * (rollout.num_steps + 1)


def test_segments_follow_one_another_and_only_the_last_is_cut(rollout: MaltRollout) -> None:
    segments = list(rollout.stream(2 * SEGMENT + 3, rollout.begin(3)))
    assert [segment.index for segment in segments] == [0, 1, 2]
    assert [segment.frames.shape[1] for segment in segments] == [SEGMENT, SEGMENT, 3]
    assert all(b.start == a.start + a.frames.shape[1] for a, b in pairwise(segments))
    assert all(segment.frames.abs().max() <= 1 for segment in segments)


@pytest.mark.parametrize("kind", MEMORIES)
def test_changing_the_remembered_past_changes_the_future(kind: str) -> None:
    rollout = tiny_pipeline.rollout(memory=kind)
    here, elsewhere = after(rollout, 1), after(rollout, 1, seed=4)
    own, _ = rollout.advance(here)
    other, _ = rollout.advance(replace(here, memory=elsewhere.memory))
    assert not torch.allclose(own.latents, other.latents, atol=1e-4)


def test_changing_the_context_changes_the_future(rollout: MaltRollout) -> None:
    here = after(rollout, 1)
    assert here.tail is not None
    own, _ = rollout.advance(here)
    other, _ = rollout.advance(replace(here, tail=here.tail + 0.5))
    assert not torch.allclose(own.latents, other.latents, atol=1e-4)


def test_another_seed_is_another_video(rollout: MaltRollout) -> None:
    assert not torch.allclose(collect(rollout, 4), collect(rollout, 4, rollout.begin(4)), atol=1e-3)


def test_a_progress_that_two_videos_go_on_from_stays_unharmed(rollout: MaltRollout) -> None:
    here = after(rollout, 1)
    before = [tensor.clone() for state in here.memory for tensor in state]
    once = collect(rollout, 2 * SEGMENT, here)
    branch = collect(rollout, 2 * SEGMENT, replace(here, seed=77))
    assert not torch.allclose(once, branch, atol=1e-3)
    assert torch.equal(collect(rollout, 2 * SEGMENT, here), once)
    now = [tensor for state in here.memory for tensor in state]
    assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_is_as_large_after_many_segments_as_before_the_first(kind: str) -> None:
    rollout = tiny_pipeline.rollout(memory=kind, settings={"num_inference_steps": 1})
    empty = rollout.begin(3)
    sizes = {segment.memory_bytes for segment in rollout.stream(4 * SEGMENT, empty)}
    assert sizes == {num_bytes(empty.memory)}


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_the_memory_is_renewed_every_so_many_segments(interval: int) -> None:
    rollout = tiny_pipeline.rollout(settings={"memory_update_interval": interval, "num_inference_steps": 1})
    renewed, progress = [], rollout.begin(3)
    for _ in range(5):
        _, later = rollout.advance(progress)
        renewed.append(not equal(later.memory, progress.memory))
        progress = later
    assert renewed == [index % interval == 0 for index in range(5)]


def test_given_frames_come_first_as_the_codec_shows_them(rollout: MaltRollout) -> None:
    given = tiny_pipeline.video(2 * SEGMENT, batch=(1,))
    segments, progresses = prefilled(rollout, given)
    shown = rollout.codec.decode(rollout.codec.encode(given)[0])[0].clamp(-1, 1)
    torch.testing.assert_close(torch.cat([segment.frames for segment in segments], dim=1), shown)
    assert [segment.start for segment in segments] == [0, SEGMENT]
    assert progresses[-1].start == 2 * SEGMENT


def test_given_frames_are_remembered_and_gone_on_from(rollout: MaltRollout) -> None:
    ones, others = (tiny_pipeline.video(2 * SEGMENT, seed, batch=(1,)) for seed in (0, 1))
    _, (*_, progress) = prefilled(rollout, ones)
    _, (*_, other) = prefilled(rollout, torch.cat([others[:, :SEGMENT], ones[:, SEGMENT:]], dim=1))
    assert all(state.valid.all() for state in progress.memory)
    assert not equal(progress.memory, other.memory)
    assert not torch.allclose(collect(rollout, SEGMENT, progress), collect(rollout, SEGMENT, other), atol=1e-4)


@pytest.mark.parametrize(("num_frames", "lengths"), [(4, [4]), (7, [4]), (8, [8]), (13, [4, 8]), (21, [4, 8, 8])])
def test_whole_segments_are_counted_from_the_end_and_odd_frames_left_out(
    rollout: MaltRollout, num_frames: int, lengths: list[int]
) -> None:
    segments, progresses = prefilled(rollout, tiny_pipeline.video(num_frames, batch=(1,)))
    assert [segment.frames.shape[1] for segment in segments] == lengths
    remembered = [any(state.valid.any() for state in progress.memory) for progress in progresses]
    assert remembered == [length == SEGMENT or index > 0 for index, length in enumerate(lengths)]


def test_too_few_frames_to_encode_are_no_segment(rollout: MaltRollout) -> None:
    assert list(rollout.prefill(rollout.begin(3), tiny_pipeline.video(3, batch=(1,)))) == []


@pytest.mark.parametrize("context_frames", [0, 1, 2, 3])
def test_a_context_of_any_length_is_kept_and_no_longer_one(context_frames: int) -> None:
    rollout = tiny_pipeline.rollout(context_frames=context_frames)
    _, (progress, *_) = prefilled(rollout, tiny_pipeline.video(4, batch=(1,)))
    kept = []
    for _ in range(3):
        assert progress.tail is not None
        kept.append(progress.tail.shape[1])
        segment, progress = rollout.advance(progress)
        assert torch.isfinite(segment.frames).all()
    assert kept == [min(max(context_frames, 2), seen) for seen in (1, 3, 5)]


def test_noise_on_the_context_is_told_to_the_model() -> None:
    settled = tiny_pipeline.rollout(settings={"num_inference_steps": 1})
    progress, levels = after(settled, 1), []

    def note(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        levels.append(given[1][0].tolist())

    tiny_pipeline.network(settled).register_forward_pre_hook(note, with_kwargs=True)
    for noise in (0.0, 0.25):
        replace(settled, context_noise=noise).advance(progress)
    settled.advance(settled.begin(3))
    denoising = [level for level in levels if len(level) == 3]
    assert denoising == [[0.0, 1.0, 1.0], [0.25, 1.0, 1.0], [1.0, 1.0, 1.0]]


def test_each_prompt_of_a_batch_has_its_own_video() -> None:
    pipeline = tiny_pipeline.pipeline()
    prompts = ["a red circle", "two shapes pass behind a wall", "a blue square at night"]
    rollout = pipeline.rollout(prompts)
    together = collect(rollout, 2 * SEGMENT)
    assert together.shape == (3, 2 * SEGMENT, 3, tiny_pipeline.SIDE, tiny_pipeline.SIDE)
    changed = collect(pipeline.rollout([prompts[0], "a small pink cross", prompts[2]]), 2 * SEGMENT)
    same = [torch.equal(a, b) for a, b in zip(together, changed, strict=True)]
    assert same == [True, False, True]


def test_videos_of_one_prompt_differ_by_their_noise() -> None:
    one, other = collect(tiny_pipeline.rollout(prompts=2), SEGMENT)
    assert not torch.allclose(one, other, atol=1e-3)


def test_guidance_costs_passes_but_no_calls(rollout: MaltRollout) -> None:
    sizes: list[int] = []
    tiny_pipeline.network(rollout).register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    for guidance in (Guidance(), Guidance(text=2.0), Guidance(text=2.0, memory=3.0)):
        replace(rollout, guidance=guidance, num_steps=1).advance(rollout.begin(3))
    assert sizes == [1, 1, 2, 1, 3, 1]  # a step, then the clean pass that remembers


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("transformer.proj_out.bias", float("nan")),
        ("transformer.proj_out.bias", float("inf")),
        ("codec.autoencoder.to_frames.mix.bias", float("nan")),
    ],
)
def test_output_that_is_not_finite_is_said_in_a_sentence(rollout: MaltRollout, part: str, damage: float) -> None:
    progress = after(rollout, 1)
    holder: Any = rollout
    for name in part.split("."):
        holder = getattr(holder, name)
    holder.data.fill_(damage)
    with pytest.raises(MaltError, match="output in segment 1 is not finite: .*; try another checkpoint") as caught:
        rollout.advance(progress)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"num_steps": 0}, "asked for 0 denoising steps; give at least 1"),
        ({"memory_update_interval": 0}, "asked for a memory update every 0 segments; give at least 1"),
    ],
)
def test_counts_with_which_nothing_can_be_made_are_refused(
    rollout: MaltRollout, setting: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(rollout, **setting)


def driven(action: float, num_frames: int = 3 * SEGMENT) -> Tensor:
    rollout = tiny_pipeline.rollout(action_dim=8)
    first = list(
        rollout.prefill(rollout.begin(3), tiny_pipeline.video(SEGMENT, batch=(1,)), torch.zeros(1, SEGMENT, 2))
    )
    stream = rollout.stream(num_frames, first[-1][1], lambda seen, count: torch.full((1, count, 2), action))
    return torch.cat([segment.frames for segment in stream], dim=1)


def test_what_is_done_changes_what_is_seen() -> None:
    assert torch.equal(driven(0.5), driven(0.5))
    assert not torch.allclose(driven(0.5), driven(-0.5), atol=1e-4)


def test_a_driver_sees_every_segment_before_it_acts() -> None:
    rollout, seen = tiny_pipeline.rollout(action_dim=8), []

    def drive(segment: Segment | None, count: int) -> Tensor:
        seen.append(None if segment is None else segment.index)
        return torch.zeros(1, count, 2)

    assert len(list(rollout.stream(3 * SEGMENT, rollout.begin(0), drive))) == 3
    assert seen == [None, 0, 1]


@pytest.mark.parametrize("actions", [None, torch.zeros(1, SEGMENT - 1, 2), torch.zeros(1, SEGMENT, 3)])
def test_actions_that_do_not_fit_are_refused(actions: Tensor | None) -> None:
    rollout = tiny_pipeline.rollout(action_dim=8)
    with pytest.raises(UsageError, match="actions"):
        rollout.advance(rollout.begin(0), actions)


def test_a_model_without_actions_takes_none(rollout: MaltRollout) -> None:
    with pytest.raises(UsageError, match="takes no actions"):
        rollout.advance(rollout.begin(0), torch.zeros(1, SEGMENT, 2))


@pytest.mark.parametrize("kind", [kind for kind in MEMORIES if kind not in ("multimodal", "places")])
def test_of_what_is_told_again_only_the_tail_is_remembered(kind: str) -> None:
    rollout = tiny_pipeline.rollout(memory=kind)
    here, other = after(rollout, 3), after(rollout, 1)
    assert not equal(here.memory, other.memory)
    there = replace(other, tail=here.tail)
    assert equal(rollout.rebuild_memory(here).memory, rollout.rebuild_memory(there).memory)


def test_a_memory_that_the_prompt_steers_outlives_a_new_prompt_and_is_read_when_the_old_one_comes_back() -> None:
    first = tiny_pipeline.rollout(memory="multimodal", settings={"num_inference_steps": 1})
    other = replace(first, caption=Caption(first.caption.states.flip(1) + 1.0, first.caption.mask))
    here = after(first, 3)
    there = other.rebuild_memory(here)
    for _ in range(3):
        _, there = other.advance(there)
    under_first, under_other = (frames_read(rollout, there) for rollout in (first, other))
    assert under_first
    assert under_other
    assert frames_read(first, here) <= under_first
    assert not under_first & under_other


def frames_read(rollout: MaltRollout, state: RolloutState) -> set[tuple[float, ...]]:
    """What the first layer reads of each frame that was remembered before the last segment."""
    network = tiny_pipeline.network(rollout)
    memory, side = next(iter(network.memory_modules())), tiny_pipeline.LATENT_SIDE // 2
    assert isinstance(memory, ContextMemory)
    conditions = Conditions(Layout(network.segment_frames, side, side), rollout.caption.states, rollout.caption.mask)
    found = memory.context(state.memory[0], conditions)
    frames, are_valid = (x[0].unflatten(0, (-1, side**2))[: -network.segment_frames] for x in found[:2])
    return {tuple(frame.flatten().tolist()) for frame, valid in zip(frames, are_valid, strict=True) if valid.all()}


@pytest.mark.parametrize("kind", MEMORIES)
def test_told_again_in_other_words_the_tail_is_remembered_otherwise(kind: str) -> None:
    rollout = tiny_pipeline.rollout(memory=kind)
    here = after(rollout, 3)
    other = replace(rollout, caption=Caption(rollout.caption.states + 1.0, rollout.caption.mask))
    assert not equal(other.rebuild_memory(here).memory, here.memory)


def test_where_nothing_was_made_there_is_nothing_to_tell_again(rollout: MaltRollout) -> None:
    assert rollout.rebuild_memory(rollout.begin(3)).tail is None
