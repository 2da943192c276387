"""Laws of the hand on a take: the wheel, taps, walls, and how soon it is followed."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiny_pipeline
from malt.sessions.action_policies import TURN_FRAMES
from malt.studio.maze_walk import TRUE_FRAMES, WalledPolicy, maze_map, poses, true_beginning
from malt.studio.policy import StudioPolicy
from malt.worlds.maze.floor_plan import SIDE, floor_plan
from malt.worlds.maze.maze_world import Maze
from tiny_server import wait_until
from tiny_studio import Page, opened

SEGMENT = tiny_pipeline.SEGMENT


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with opened(tmp_path) as page:
        page.begin(model="drive", prompt="", frames=None)
        yield page


def test_the_wheel_turns_evenly_and_then_holds() -> None:
    policy = StudioPolicy(["throttle", "horn", "steering"])
    assert policy(None, 2)[0, :, 2].tolist() == [0, 0]
    policy.turn(1.0, -1.0)
    done = policy(None, TURN_FRAMES + 2)[0]
    assert done[:, 2].tolist() == [*[(n + 1) / TURN_FRAMES for n in range(TURN_FRAMES)], 1, 1]
    assert done[-1, 0] == 0 and done[:, 1].abs().max() == 0


def test_a_tap_between_two_segments_is_done_for_half_a_segment() -> None:
    policy = StudioPolicy(["turn", "walk"])
    policy.turn(-1.0, 0.0, 1)
    policy.turn(0.0, 0.0, 2)
    done = policy(None, 8)[0]
    assert done[:, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0] and policy.done == 2
    assert policy(None, 8)[0].abs().max() == 0


def test_a_turn_is_followed_by_what_nobody_has_seen(page: Page) -> None:
    visitor = page.studio.find(page.key)
    wait_until(lambda: visitor.take.made >= 2 * SEGMENT)
    visitor.job.look(3)
    visitor.steer(-1.0, 0.0, 7)
    wait_until(lambda: visitor.job.followed == (7, SEGMENT))  # behind the segment that is seen
    assert visitor.take.untouched == SEGMENT
    actions = visitor.take.session.state.actions
    assert actions is not None
    assert actions[:SEGMENT, 0].abs().max() == 0 and actions[2 * SEGMENT - 1, 0] == -1
    assert page.scene["acts"] and page.scene["state"] == "making"


def test_what_was_seen_is_never_made_anew_by_steering(page: Page) -> None:
    visitor = page.studio.find(page.key)
    for frame in range(0, 4 * SEGMENT, SEGMENT // 2):
        visitor.job.look(frame)
    wait_until(lambda: visitor.take.made >= 4 * SEGMENT)
    visitor.job.look(2)  # somebody looks back
    visitor.steer(1.0, 0.0, 3)
    assert visitor.take.made >= 3 * SEGMENT + SEGMENT // 2
    page.ask("stop")


def test_a_hand_that_is_never_still_does_not_keep_a_segment_from_being_made(page: Page) -> None:
    visitor, numbers = page.studio.find(page.key), itertools.count(1)

    def has_grown() -> bool:
        visitor.job.look(visitor.take.made)
        visitor.steer((-1.0) ** next(numbers), 0.0, next(numbers))
        return visitor.take.made >= 5 * SEGMENT

    wait_until(has_grown)
    page.ask("stop")


def test_where_one_stands_in_a_true_maze_is_where_its_own_walk_stands() -> None:
    frames, actions = true_beginning(7)
    path = Maze().under("explore").path(7, 0, TRUE_FRAMES)[1]
    assert len(frames) == len(actions) == TRUE_FRAMES
    assert torch.allclose(poses(actions, 7)[1:], path, atol=1e-4)


def test_walls_stop_whoever_walks_through_a_true_maze() -> None:
    done = torch.zeros(0, 2)
    policy = WalledPolicy(["turn", "walk"], 7, lambda: done)
    policy.turn(0.0, 1.0)
    for _ in range(12):
        done = torch.cat([done, policy(None, 16)[0]])
    walked = poses(done, 7)
    cells = floor_plan(7).open_cells()
    assert all((int(x), int(y)) in cells for x, y, _ in walked.tolist())
    assert done[-1, 1] == 0 and done[:, 1].max() == 1  # far enough to meet a wall


def test_the_map_shows_the_true_maze_where_there_is_one() -> None:
    found = maze_map(true_beginning(7)[1], 7, 40)
    plan = found["plan"]
    assert isinstance(plan, dict) and plan["side"] == SIDE
    assert len(plan["cells"]) == len(floor_plan(7).open_cells())
    assert isinstance(found["path"], list) and len(found["path"]) == TRUE_FRAMES - 40
