"""Laws of the world `maze`: the same place is the same picture, walls hold, and policies come back."""

import math

import pytest
import torch

from malt.errors import UsageError
from malt.worlds.base import ActingWorld, World
from malt.worlds.maze.floor_plan import COLOURS, ROOMS, floor_plan, middle
from malt.worlds.maze.maze_moments import room_at
from malt.worlds.maze.maze_returns import find_returns
from malt.worlds.maze.maze_world import Maze
from malt.worlds.maze.motion import dead_reckoning, discrete_actions
from malt.worlds.maze.motion_reading import DONE, MotionReader, stretches, what_is_done
from malt.worlds.registry import oracle_of

WORLD = Maze()


def test_it_is_a_world_in_which_somebody_acts() -> None:
    assert isinstance(WORLD, World)
    assert isinstance(WORLD, ActingWorld)


def test_a_stretch_is_the_same_alone_and_with_others() -> None:
    alone = WORLD.render([5], 40, 6)
    together = WORLD.render([3, 5], 37, 9)
    assert torch.equal(alone.frames[0], together.frames[1, 3:])
    assert alone.actions is not None
    assert together.actions is not None
    assert torch.equal(alone.actions[0], together.actions[1, 3:])


def test_frames_are_pictures_of_any_size() -> None:
    frames = Maze(frame_size=(96, 128)).render([0], 0, 2).frames
    assert frames.shape == (1, 2, 3, 96, 128)
    assert -1 <= float(frames.min()) < float(frames.max()) <= 1


def test_rooms_differ_and_can_all_be_reached() -> None:
    for seed in range(20):
        plan = floor_plan(seed)
        assert {look.wall for look in plan.looks.values()} == set(COLOURS)
        seen, waiting = {plan.start}, [plan.start]
        while waiting:
            beside = [room for room in plan.neighbours(waiting.pop()) if room not in seen]
            seen.update(beside)
            waiting += beside
        assert len(seen) == ROOMS**2


@pytest.mark.parametrize("policy", WORLD.policies)
def test_actions_lead_where_the_poses_say_and_never_into_a_wall(policy: str) -> None:
    actions, poses = WORLD.under(policy).path(7, 0, 300)
    torch.testing.assert_close(
        dead_reckoning(poses[:1, :], actions[None, 1:])[0][:, :2], poses[1:, :2], atol=1e-3, rtol=0
    )
    assert float(actions.abs().max()) <= 1 + 1e-6
    _, done = WORLD.act([7], poses[:1], actions[None, 1:])
    torch.testing.assert_close(done[0], actions[1:])


@pytest.mark.parametrize("policy", WORLD.policies)
def test_every_policy_comes_back(policy: str) -> None:
    poses = WORLD.under(policy).path(3, 0, 900)[1]
    assert any(True for _ in find_returns(poses))


def test_the_policy_return_stays_away_for_long() -> None:
    away = [frames for seed in range(4) for _, frames in find_returns(WORLD.under("return").path(seed, 0, 900)[1])]
    assert max(away) >= 250


def test_a_wall_stops_a_step_but_not_a_turn() -> None:
    x, y = middle(floor_plan(0).start)
    pose = torch.tensor([[x, y, math.pi / 4]])  # into a corner
    poses, done = WORLD.act([0], pose, torch.tensor([[[0.5, 1.0]] * 40]))
    assert done[0, :, 0].eq(0.5).all()
    assert bool((done[0, :, 1] == 0).any())
    assert room_at(poses[0, -1]) == floor_plan(0).start


def test_a_full_turn_shows_the_same_picture_again() -> None:
    pose = WORLD.begin([4])
    poses, _ = WORLD.act([4], pose, discrete_actions(["left"] * 60)[None])
    first, last = WORLD.look([4], torch.stack([pose[0], poses[0, -1]])[None])[0]
    assert float((first - last).abs().max()) < 0.02
    assert float((first - WORLD.look([4], poses[:, 14:15])[0, 0]).abs().mean()) > 0.05


def test_moving_a_little_hardly_changes_the_picture() -> None:
    pose = WORLD.begin([4])
    near = WORLD.look([4], torch.stack([pose[0], pose[0] + torch.tensor([0, 0, 0.002])])[None])[0]
    assert 0 < float((near[0] - near[1]).abs().mean()) < 0.01


def test_the_oracle_reads_the_truth_in_true_pictures_and_not_in_those_of_others() -> None:
    oracle = oracle_of(WORLD, "a test")
    moment, other = oracle.occlusions(2, 900_000_000)["64-127"]
    back = WORLD.render([moment.seed], moment.start + moment.given_frames, oracle.horizon).frames[0]
    assert oracle.returning(back, moment) == moment.thing
    assert oracle.returning(-back, moment) != moment.thing
    assert other.seed != moment.seed


def test_returns_are_learnable() -> None:
    found = oracle_of(WORLD, "a test").returns([0, 1], 300)
    assert found
    assert all(0 <= each.video < 2 and each.frame < 300 for each in found)


def test_a_policy_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="choose one of explore, replay, loop, return, wander"):
        WORLD.under("fly")


def test_what_is_done_is_read_from_true_pictures() -> None:
    seen = WORLD.render(range(300, 306), 0, 120)
    assert seen.actions is not None
    features, done = stretches(seen.frames, seen.actions)
    right = MotionReader.fit(features, done)(features) == done
    assert float(right.float().mean()) > 0.9


def test_a_stretch_in_which_several_things_are_done_counts_as_none() -> None:
    actions = torch.tensor([[[0, 0], [1, 0], [1, 0]], [[0, 0], [1, 0], [0, 1]], [[1, 0], [0, 0.8], [0, 0.9]]])
    assert what_is_done(actions).tolist() == [DONE.index("left"), -1, DONE.index("ahead")]
