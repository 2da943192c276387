"""Laws of the drivers that come with malt."""

import pytest
import torch

from malt.errors import UsageError
from malt.sessions.action_policies import (
    COURSES,
    TURN_FRAMES,
    FunctionPolicy,
    LivePolicy,
    ReplayPolicy,
    arrange,
    build_policy,
)

NAMES = ("throttle", "steering")


@pytest.mark.parametrize("name", COURSES)
def test_a_driver_goes_on_where_it_was(name: str) -> None:
    whole = build_policy(name, NAMES, frame_rate=16, seed=3)(None, 48)
    pieces = build_policy(name, NAMES, frame_rate=16, seed=3)
    assert torch.equal(torch.cat([pieces(None, 20), pieces(None, 28)], dim=1), whole)
    assert torch.equal(build_policy(name, NAMES, frame_rate=16, seed=3, start=20)(None, 28), whole[:, 20:])


@pytest.mark.parametrize("name", COURSES)
def test_a_driver_steers_smoothly_both_ways_at_constant_throttle(name: str) -> None:
    throttle, steering = build_policy(name, NAMES, frame_rate=16)(None, 2000)[0].T
    assert throttle.unique().numel() == 1
    assert steering.min() < -0.2 < 0.2 < steering.max()
    assert steering.abs().max() <= 1.3
    assert steering.diff().abs().max() < 0.1


def test_another_seed_is_another_course() -> None:
    one, other = (build_policy("cruise", NAMES, frame_rate=16, seed=seed)(None, 32) for seed in (0, 1))
    assert not torch.allclose(one, other)


def test_a_script_is_followed_row_by_row_and_its_last_row_held() -> None:
    script = ReplayPolicy(torch.arange(5.0)[:, None], start=1)
    assert script(None, 2)[0, :, 0].tolist() == [1, 2]
    assert script(None, 4)[0, :, 0].tolist() == [3, 4, 4, 4]


def test_a_hand_is_followed_evenly_and_holds_what_is_not_said_anew() -> None:
    hand = LivePolicy(("steering", "horn"))
    assert hand(None, 2).tolist() == [[[0, 0], [0, 0]]]
    hand.hold({"steering": 1.0})
    turning = [(n + 1) / TURN_FRAMES for n in range(TURN_FRAMES)]
    assert hand(None, TURN_FRAMES + 1)[0, :, 0].tolist() == [*turning, 1]
    hand.hold({"horn": 1.0})
    assert hand(None, TURN_FRAMES)[0, -1].tolist() == [1, 1]
    with pytest.raises(UsageError, match="no action jump; it has steering, horn"):
        hand.hold({"jump": 1.0})


def test_columns_are_found_by_their_names() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0]])
    assert arrange(("steering", "lamp", "throttle"), values, NAMES).tolist() == [[3, 1]]
    with pytest.raises(UsageError, match="the actions lack throttle"):
        arrange(("steering", "lamp"), values[:, :2], NAMES)


@pytest.mark.parametrize(
    ("name", "names", "sentence"), [("fly", NAMES, "no policy 'fly'"), ("cruise", ("jump",), "does not")]
)
def test_a_driver_that_cannot_drive_is_refused(name: str, names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build_policy(name, names, frame_rate=16)


def test_a_function_says_what_is_done_from_any_frame_on() -> None:
    policy = FunctionPolicy(lambda first, count: torch.arange(float(first), first + count)[:, None], start=3)
    assert policy(None, 2)[0, :, 0].tolist() == [3, 4]
    assert policy(None, 3)[0, :, 0].tolist() == [5, 6, 7]
