"""A memory of places: views come back by where one is, and the first impression stays."""

import math

import pytest
import torch
from torch import Tensor

from malt.memory.places import PlacesConfig, PlacesMemory
from malt.memory.poses import dead_reckoning, features, moved, origin, seen_from
from malt.memory.protocol import Conditions, Layout, SegmentRecord
from malt.memory.state import State
from malt.training.config import TransformerSize

WIDTH, LAYOUT = 16, Layout(frames=2, rows=1, columns=2)


def memory(**settings: float) -> PlacesMemory:
    return PlacesMemory(WIDTH, 4, PlacesConfig(**{"num_views": 8, "num_read": 2, **settings}))  # type: ignore[arg-type]


def conditions(motion: Tensor | None, layout: Layout = LAYOUT) -> Conditions:
    return Conditions(layout, torch.zeros(1, 1, WIDTH), torch.ones(1, 1, dtype=torch.bool), None, motion)


def ahead(*lengths: float) -> Tensor:
    """Poses so far ahead, one for each latent frame of a segment."""
    return torch.tensor([[[length, 0.0, 1.0, 0.0] for length in lengths]])


def tokens(value: float) -> Tensor:
    """A segment all of whose tokens are alike; of unit size, so that they are stored as they are."""
    signs = torch.tensor([1.0 if int(value) >> bit & 1 else -1.0 for bit in range(WIDTH)])
    return signs.expand(1, 4, WIDTH).clone()


def walked(kind: PlacesMemory, *segments: tuple[float, Tensor]) -> State:
    """The state after segments of two frames, of these tokens, each seen from where its motion leads."""
    state = kind.empty(1, LAYOUT, torch.zeros(1))
    for value, motion in segments:
        state = kind.write(SegmentRecord(tokens(value), conditions(motion)), state)
    return state


def test_poses_can_be_chained_and_undone() -> None:
    one, other = torch.tensor([1.0, 2.0, 0.6, 0.8]), torch.tensor([-3.0, 0.5, 0.0, -1.0])
    torch.testing.assert_close(moved(one, seen_from(one, other)), other)
    torch.testing.assert_close(seen_from(one, one), origin(one))


def test_four_quarter_turns_and_steps_lead_back() -> None:
    actions = torch.tensor([[[1.0, 1.0]] * 4])
    poses = dead_reckoning(actions, (math.pi / 2, 2.0), 0)
    torch.testing.assert_close(poses[0, -1], torch.tensor([0.0, 0.0, 1.0, 0.0]), atol=1e-5, rtol=0)


def test_poses_of_a_segment_are_seen_from_the_end_of_its_context() -> None:
    actions = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    poses = dead_reckoning(actions, (1.0, 2.0), 1)
    assert poses[0, :, 0].tolist() == [0.0, 2.0, 4.0]


def test_what_is_read_was_seen_from_where_one_is() -> None:
    kind = memory()
    state = walked(kind, (1, ahead(0.0, 0.0)), (2, ahead(9.0, 18.0)), (4, ahead(9.0, 9.0)))
    back = ahead(-27.0, -27.0)  # to the beginning
    found = kind.context(state, conditions(back))
    first = found.tokens.unflatten(1, (2, 2))[:, 0]
    torch.testing.assert_close(first, tokens(1)[:, :2])


def test_the_first_impression_of_a_place_stays() -> None:
    kind = memory()
    state = walked(kind, (1, ahead(0.0, 0.0)), (2, ahead(0.0, 0.1)))
    assert int(state.valid[:, 1:9].sum()) == 1
    torch.testing.assert_close(kind.context(state, conditions(ahead(0.0, 0.0))).tokens[:, :2], tokens(1)[:, :2])


def test_when_all_places_are_taken_one_of_the_two_most_alike_views_goes() -> None:
    kind = memory(num_views=2)
    state = walked(kind, (1, ahead(0.0, 1.5)), (2, ahead(20.0, 20.0)))
    found = kind.context(state, conditions(ahead(0.0, 0.0)))
    assert found.valid.all()
    kinds = {tuple(token.sign().tolist()) for token in found.tokens.unflatten(1, (2, 2))[0, :, 0]}
    assert kinds == {tuple(tokens(1)[0, 0].tolist()), tuple(tokens(2)[0, 0].tolist())}


def test_noise_on_the_memory_hardly_moves_the_pose() -> None:
    kind = PlacesMemory(256, 8, PlacesConfig(num_views=4, num_read=2))
    layout = Layout(frames=1, rows=1, columns=1)
    record = SegmentRecord(torch.ones(1, 1, 256), conditions(ahead(3.0), layout))
    state = kind.write(record, kind.empty(1, layout, torch.zeros(1)))
    torch.nn.init.eye_(kind.embed_pose.weight)
    noisy = State(state.tokens + 0.2 * torch.randn_like(state.tokens), state.valid)
    near = kind.context(noisy, conditions(ahead(0.0), layout))
    assert near.valid.sum() == 1
    here = noisy.tokens[:, 0].unflatten(-1, (4, -1)).mean(dim=-1)
    assert abs(float(here[0, 0]) - 3) < 0.15


def test_who_is_not_told_of_moving_stands_still() -> None:
    state = memory().write(SegmentRecord(tokens(1), conditions(None)), memory().empty(1, LAYOUT, torch.zeros(1)))
    assert int(state.valid[:, 1:9].sum()) == 1


def test_a_recipe_with_places_but_without_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="places is read by where one is; give motion"):
        TransformerSize(memory="places")


def test_a_memory_that_reads_more_than_it_keeps_is_refused() -> None:
    with pytest.raises(ValueError, match="num_read is 9 of num_views 8"):
        memory(num_read=9)


def test_features_tell_two_places_apart() -> None:
    one, other = (features(torch.tensor([x, 0.0, 1.0, 0.0])) for x in (0.0, 1.0))
    assert (one - other).abs().max() > 0.3


def test_views_are_rounded_to_halves_and_poses_are_not() -> None:
    kind, drawn = memory(), torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(0))
    state = kind.write(SegmentRecord(drawn, conditions(ahead(0.3, 0.7))), kind.empty(1, LAYOUT, torch.zeros(1)))
    views, poses = state.tokens[:, 9:], state.tokens[:, :9]
    assert torch.equal(2 * views, (2 * views).round()) and views.abs().max() > 0.5
    assert poses[0, 0, 0] == pytest.approx(0.7)


def test_gradients_pass_through_the_rounding_of_views() -> None:
    kind, drawn = memory(), torch.randn(1, 4, WIDTH, requires_grad=True)
    state = kind.write(SegmentRecord(drawn, conditions(ahead(0.3, 7.0))), kind.empty(1, LAYOUT, torch.zeros(1)))
    (state.tokens[:, 9:] * torch.arange(WIDTH)).sum().backward()
    assert drawn.grad is not None and (drawn.grad != 0).all()


def test_views_are_read_in_half_precision_by_weights_of_half_precision() -> None:
    kind, back = memory().to(torch.bfloat16), conditions(ahead(-18.0, -18.0))
    state = kind.empty(1, LAYOUT, torch.zeros(1, dtype=torch.bfloat16))
    state = kind.write(SegmentRecord(tokens(1).bfloat16(), conditions(ahead(0.0, 18.0))), state)
    found = kind.context(state, back).tokens
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found[:, :2], tokens(1)[:, :2].bfloat16())
