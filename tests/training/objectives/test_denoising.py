"""Laws of learning to denoise with a memory; see `tiny_lesson` for which frame is which."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from malt.diffusion.caption import Caption
from malt.errors import UsageError
from malt.memory.registry import KINDS
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising_loss import denoising_loss, noise_levels
from tiny_examples import (
    CAPTIONS,
    EXACT,
    NOTHING_LOST,
    Examples,
    Settings,
    asked,
    captioned,
    chance,
    curriculum,
    jolt,
    losses,
    task,
    untouched,
    window,
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_alone_decides_what_is_drawn(kind: str) -> None:
    model = captioned(memory=kind)
    one, other = task(model=model, num_segments=2), task(model=model, num_segments=2)
    other.loss(2)
    loss, figures = one.loss(3)
    again, the_same = other.loss(3)
    assert torch.equal(loss, again)
    assert figures == the_same
    assert not torch.equal(loss, one.loss(4)[0])


def test_the_loss_is_the_mean_of_those_of_the_segments() -> None:
    loss, figures = task(num_segments=3).loss(0)
    assert list(figures) == ["segment_0", "segment_1", "segment_2"]
    assert loss.item() == pytest.approx(sum(figures.values()) / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind: str, tmp_path: Path) -> None:
    plan = Optimization(num_steps=20, learning_rate=2e-2, muon_learning_rate=2e-2, warmup_steps=3)
    fit(task(Examples(torch.ones_like), captioned(memory=kind), num_segments=2), plan, tmp_path, log_every=1)
    found = [json.loads(line)["loss"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


def test_a_stage_lasts_until_its_step_and_the_last_for_ever() -> None:
    short, long = (asked(num_segments=n, batch_size=1) for n in (1, 3))
    learner = curriculum((Stage(until=2, objectives=(short,)), Stage(until=4, objectives=(long,))))
    assert [len(losses(learner, step)) for step in (0, 1, 2, 3, 4, 99)] == [1, 1, 3, 3, 3, 3]


def test_the_objectives_of_a_stage_take_turns() -> None:
    stage = Stage(until=9, objectives=tuple(asked(num_segments=n, batch_size=1) for n in (1, 2, 3)))
    learner = curriculum((stage,))
    assert [len(losses(learner, step)) for step in range(5)] == [1, 2, 3, 1, 2]


def test_examples_are_asked_for_as_the_objective_says() -> None:
    examples = Examples()
    task(examples, batch_size=2, num_segments=3, first_segment_prob=0.25).loss(0)
    assert examples.asked == (2, 6, 1, 0.25)


def reach_of(bptt_segments: int | None, kind: str) -> list[bool]:
    """Whether the gradient of the third segment's error gets to each of the segments before it through the memory."""
    model = captioned(memory=kind)
    objective = asked(num_segments=3, bptt_segments=bptt_segments, **NOTHING_LOST)
    latents = Examples()(0, 3, 6, 1, 0.0).latents.requires_grad_()
    errors, _ = denoising_loss(model.transformer, window(model, latents), objective, chance())
    errors[2].backward()
    assert latents.grad is not None
    return [bool(latents.grad[:, frame].any()) for frame in (1, 3)]  # those that are no segment's context


# Nobody moves here, so a memory of places keeps the first view alone.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("none", "places")])
def test_gradients_flow_through_as_many_memory_writes_as_are_asked_for(kind: str) -> None:
    assert reach_of(None, kind) == [True, True]
    assert reach_of(2, kind) == [True, True]
    assert reach_of(1, kind) == [False, True]
    assert reach_of(0, kind) == [False, False]


def test_without_a_memory_no_gradient_reaches_the_past() -> None:
    assert reach_of(None, "none") == [False, False]


def test_how_far_gradients_flow_does_not_change_the_loss() -> None:
    without = losses(task(num_segments=3, bptt_segments=0))
    # Passes without gradients leave out masks that hide nothing, so sums may be made in another order.
    assert without == pytest.approx(losses(task(num_segments=3)), rel=1e-5)


def test_a_later_segment_is_denoised_with_the_memory_of_those_before() -> None:
    usual = losses(task(num_segments=3, **NOTHING_LOST))
    changed = losses(task(Examples(jolt(1)), num_segments=3, **NOTHING_LOST))
    assert [a == b for a, b in zip(usual, changed, strict=True)] == [False, False, False]


def test_the_future_has_no_influence_on_the_past() -> None:
    usual = losses(task(num_segments=3, **NOTHING_LOST))
    changed = losses(task(Examples(jolt(5, 6)), num_segments=3, **NOTHING_LOST))
    assert [a == b for a, b in zip(usual, changed, strict=True)] == [True, True, False]


def test_where_the_memory_is_dropped_the_past_has_no_influence() -> None:
    lost = NOTHING_LOST | {"memory_dropout": 1.0}
    usual, changed = (losses(task(Examples(change), num_segments=3, **lost)) for change in (None, jolt(1)))
    assert usual[1:] == changed[1:]


def test_the_memory_and_what_is_remembered_are_noisy_as_asked() -> None:
    exact = losses(task(num_segments=2, **NOTHING_LOST, **EXACT))
    for setting in EXACT:
        noisy = losses(task(num_segments=2, **NOTHING_LOST, **EXACT | {setting: 0.5}))
        assert noisy[1] != exact[1], setting
        assert (noisy[0] == exact[0]) == (setting != "context_noise"), setting


def test_the_context_of_a_window_that_begins_a_film_has_no_influence() -> None:
    usual, changed = (losses(task(Examples(change, begins=True), num_segments=2)) for change in (None, jolt(0)))
    assert usual == changed


def test_the_context_of_any_other_window_has_influence_unless_it_is_dropped() -> None:
    kept, dropped = ({**NOTHING_LOST, "context_dropout": share} for share in (0.0, 1.0))
    assert losses(task(**kept)) != losses(task(Examples(jolt(0)), **kept))
    assert losses(task(**dropped)) == losses(task(Examples(jolt(0)), **dropped))


def test_the_context_is_not_part_of_the_error() -> None:
    model = captioned()
    for parameter in model.transformer.proj_out.parameters():
        parameter.data.zero_()
    silent, jolted = (losses(task(Examples(change), model)) for change in (None, jolt(0)))
    assert silent == jolted
    assert silent[0] == pytest.approx(2.0, abs=0.5)  # the mean square of eps - x_0


def test_captions_matter_unless_they_are_dropped() -> None:
    others = Examples(captions=CAPTIONS[::-1])
    assert losses(task(**NOTHING_LOST)) != losses(task(others, **NOTHING_LOST))
    dropped = NOTHING_LOST | {"caption_dropout": 1.0}
    assert losses(task(**dropped)) == losses(task(others, **dropped))


def test_dropping_is_decided_video_by_video(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = captioned(), list[list[str]]()
    listen = model.encode

    def heed(tokens: Tensor, mask: Tensor) -> Caption:
        seen.append(model.tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return listen(tokens, mask)

    monkeypatch.setattr(model, "encode", heed)
    for step in range(20):
        task(model=model, caption_dropout=0.5).loss(step)
    assert {captions.count("") for captions in seen} == {0, 1, 2, 3}
    assert all(said in ("", own) for captions in seen for said, own in zip(captions, CAPTIONS, strict=True))


def test_the_text_encoder_learns_along() -> None:
    model = captioned()
    task(model=model, **NOTHING_LOST).loss(0)[0].backward()
    unmoved = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in unmoved if name.startswith("text_encoder")]


def test_every_weight_learns_when_segments_follow_one_another() -> None:
    for kind in KINDS:
        model = captioned(memory=kind)
        task(model=model, num_segments=3, **NOTHING_LOST).loss(0)[0].backward()
        unmoved = {
            name.rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
        }
        assert unmoved <= {"memory_mark"}, kind
        assert ("memory_mark" in unmoved) == (kind in ("bank", "none", "state_space"))


def test_reduced_precision_changes_little() -> None:
    full, reduced = task(num_segments=2), task(num_segments=2)
    reduced.dtype = torch.bfloat16
    assert reduced.loss(0)[0].item() == pytest.approx(full.loss(0)[0].item(), rel=0.05)


ACTS = 4


@pytest.mark.parametrize("frame", [0, 1, 3, 4])
def test_the_actions_of_every_frame_matter_where_it_is_walked_denoised_or_context(frame: int) -> None:
    model = captioned(action_dim=ACTS)
    usual, changed = (
        losses(task(Examples(action_dim=ACTS, act=act), model, num_segments=2, **NOTHING_LOST))
        for act in (None, jolt(frame))
    )
    assert (usual[0] != changed[0]) == (frame <= 2)
    assert (usual[1] != changed[1]) == (frame > 0)  # frame 0 is only the first's context


def test_the_actions_of_the_future_have_no_influence_on_the_past() -> None:
    model = captioned(action_dim=ACTS)
    usual, changed = (
        losses(task(Examples(action_dim=ACTS, act=act), model, num_segments=3, **NOTHING_LOST))
        for act in (None, jolt(5, 6))
    )
    assert [a == b for a, b in zip(usual, changed, strict=True)] == [True, True, False]


def test_the_weights_that_read_actions_learn() -> None:
    model = captioned(action_dim=ACTS)
    task(Examples(action_dim=ACTS), model, num_segments=2).loss(0)[0].backward()
    learned = [p.grad for name, p in model.named_parameters() if "embed_action" in name]
    assert learned
    assert all(grad is not None and grad.any() for grad in learned)


def test_a_model_that_takes_no_actions_is_told_none() -> None:
    assert losses(task(Examples(action_dim=ACTS), num_segments=2)) == losses(task(num_segments=2))


@pytest.mark.parametrize(("given", "found"), [(None, "none"), (3, "3")])
def test_examples_without_the_actions_that_a_model_takes_are_refused(given: int | None, found: str) -> None:
    learner = task(Examples(action_dim=given), captioned(action_dim=ACTS))
    with pytest.raises(UsageError, match=f"actions of 4 numbers a latent frame and the examples have {found};"):
        learner.loss(0)


def test_key_frames_are_learned_behind_the_key_frame_before_them_and_no_other_frame_matters() -> None:
    """Asked for 4 + 8 frames of which every fourth counts: numbers 3, 7 and 11."""
    key_frames: Settings = {"frame_stride": 4, "num_segments": 1}
    examples = Examples()
    plain = losses(task(examples, **key_frames))
    assert examples.asked == (3, 8, 4, 0.3)
    assert losses(task(Examples(jolt(0, 1, 2, 4, 5, 6, 8, 9, 10)), **key_frames)) == plain
    for frame in (3, 7, 11):
        assert losses(task(Examples(jolt(frame)), **key_frames)) != plain


@pytest.mark.parametrize(("name", "frame"), [("num_prefix_frames", 1), ("num_suffix_frames", 2)])
def test_a_known_frame_is_seen_nearly_clean_and_not_learned(name: str, frame: int) -> None:
    known: Settings = {name: 1, "num_segments": 1} | EXACT | NOTHING_LOST
    model = captioned()
    seen = window(model, Examples()(0, 3, 2, 1, 0.0).latents)
    levels = noise_levels(seen, asked(**known), chance())
    assert levels.shape == (3, 3)
    assert not levels[:, [0, frame]].any()
    assert (levels[:, 3 - frame] > 0).all()
    assert losses(task(Examples(jolt(frame)), model, **known)) != losses(task(Examples(), model, **known))
    with pytest.raises(
        UsageError, match="num_prefix_frames and num_suffix_frames are 2 of the 2 latent frames of a segment"
    ):
        task(num_prefix_frames=1, num_suffix_frames=1)


def test_each_frame_may_have_a_noise_level_of_its_own() -> None:
    model = captioned()
    seen = window(model, Examples()(0, 3, 4, 1, 0.0).latents)
    for own, distinct in ((False, 1), (True, 2)):
        levels = noise_levels(seen, asked(num_segments=2, level_per_frame=own), chance())
        assert levels.shape == (6, 3)
        assert all(len(set(row.tolist())) == distinct for row in levels[:, 1:])


def test_captions_are_padded_to_what_the_longest_needs_and_padding_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = captioned()
    assert model.caption(["a"]).states.shape[1] == 6  # a bound of one step is always filled
    monkeypatch.setattr("malt.training.objectives.denoising.TOKEN_STEP", 2)
    assert [model.caption([text]).states.shape[1] for text in ("", "a", "a red", "a red circle and two shapes")] == [
        2,
        2,
        4,
        6,
    ]
    learner = task(model=model)
    short = learner.loss(0)[0]
    monkeypatch.setattr("malt.training.objectives.denoising.TOKEN_STEP", 40)
    torch.testing.assert_close(learner.loss(0)[0], short)


def test_what_begins_alone_sees_nothing_before_it_not_even_noise() -> None:
    alone = {"begins_alone": True, "first_segment_prob": 1.0, "context_noise": 0.0, "caption_dropout": 0.0}
    plain = losses(task(Examples(begins=True), **alone))
    assert losses(task(Examples(jolt(0), begins=True), **alone)) == plain
    assert losses(task(Examples(begins=True), **alone | {"begins_alone": False})) != plain


def test_only_a_films_first_segment_can_begin_alone() -> None:
    with pytest.raises(ValueError, match="give num_segments 1 and first_segment_prob 1"):
        asked(begins_alone=True, num_segments=2)


def test_anchors_stand_in_a_later_segments_context_and_nowhere_else() -> None:
    latents = torch.arange(9.0)[None, :, None, None, None].expand(1, -1, tiny.CHANNELS, 4, 4)
    plain = window(untouched(), latents, CAPTIONS[:1])
    sequence = replace(plain, context_frames=3, anchor_frames=2)
    times = [[float(frame[0, 0, 0]) for frame in sequence.behind(latents, index)[0]] for index in (0, 1, 2)]
    assert times == [[0, 1, 2, 3, 4], [0, 1, 4, 5, 6], [0, 1, 6, 7, 8]]
