"""A model that turns and walks is walked by the policies of the maze, by their names."""

import pytest
import torch

from malt.commands.actions import choose_policy
from malt.errors import UsageError
from malt.studio.policy import StudioPolicy
from malt.worlds.maze.maze_world import Maze

NAMES = ("turn", "walk")


def test_a_policy_does_what_it_does_in_the_world_and_goes_on_from_any_frame() -> None:
    chosen = choose_policy(NAMES, policy="explore", actions=None, seed=4, frame_rate=16, start=32, end=64)
    assert chosen is not None
    assert torch.equal(chosen(None, 16)[0], Maze().under("explore").actions(4, 32, 16))


def test_a_model_that_walks_is_told_which_policies_there_are() -> None:
    with pytest.raises(UsageError, match="give --actions FILE or --policy explore"):
        choose_policy(NAMES, policy=None, actions=None, seed=0, frame_rate=16, start=0, end=64)
    with pytest.raises(UsageError, match="choose one of explore, replay, loop, return, wander"):
        choose_policy(NAMES, policy="cruise", actions=None, seed=0, frame_rate=16, start=0, end=64)


def test_arrow_keys_turn_and_walk() -> None:
    policy = StudioPolicy(NAMES)
    policy.turn(-1.0, 0.0)  # the left arrow
    assert policy(None, 16)[0, -1].tolist() == [1.0, 0.0]
    policy.turn(0.0, 1.0)
    assert policy(None, 16)[0, -1].tolist() == [0.0, 1.0]
