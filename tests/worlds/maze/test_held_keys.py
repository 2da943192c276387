"""Laws of the policy `wander`: what somebody with keys does in a room, up to its walls and no further, and then the middle."""

import math
import random
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from malt.worlds.maze.floor_plan import PITCH, floor_plan, middle
from malt.worlds.maze.held_keys import LONGEST, SHORTEST, HeldKeys, boxes, follow_keys, linger
from malt.worlds.maze.map_file import read_map
from malt.worlds.maze.maze_moments import room_at
from malt.worlds.maze.maze_walks import Walk
from malt.worlds.maze.maze_world import Maze
from malt.worlds.maze.motion import BODY, WALK, dead_reckoning, discrete_actions, walk_with_walls
from malt.worlds.maze.scene_tables import scene_tables
from malt.worlds.registry import oracle_of

WORLD, SEEDS = Maze().under("wander"), range(20)


@pytest.fixture(scope="module")
def walked() -> tuple[torch.Tensor, torch.Tensor]:
    """Actions and poses of some walks."""
    actions, poses = zip(*(WORLD.path(seed, 0, 320) for seed in SEEDS), strict=True)
    return torch.stack(actions), torch.stack(poses)


def test_what_was_done_leads_where_one_stands_and_through_no_wall(walked: tuple[torch.Tensor, torch.Tensor]) -> None:
    actions, poses = walked
    torch.testing.assert_close(dead_reckoning(poses[:, 0], actions[:, 1:]), poses[:, 1:], atol=1e-3, rtol=0)
    torch.testing.assert_close(WORLD.act(SEEDS, poses[:, 0], actions[:, 1:])[1], actions[:, 1:])


def test_one_comes_to_the_walls_steps_back_and_turns_while_walking(walked: tuple[torch.Tensor, torch.Tensor]) -> None:
    actions, poses = walked
    centres = torch.tensor([[middle(room_at(pose)) for pose in video] for video in poses])
    aside = (poses[..., :2] - centres).abs()
    off_lines, to_wall = aside.amin(dim=2) > 0.1, PITCH / 2 - 0.5 - BODY
    at_wall = off_lines & (aside.amax(dim=2) > to_wall - WALK)
    assert float(aside[off_lines].max()) < to_wall
    assert float(off_lines.any(dim=1).float().mean()) > 0.8
    assert float(at_wall.any(dim=1).float().mean()) > 0.8
    assert float((actions[..., 1] < 0).any(dim=1).float().mean()) > 0.5
    assert float((actions != 0).all(dim=2).any(dim=1).float().mean()) > 0.5


def test_what_stands_in_a_room_is_looked_at_from_near(walked: tuple[torch.Tensor, torch.Tensor]) -> None:
    for seed, poses in zip(SEEDS, walked[1], strict=True):
        for thing in floor_plan(seed).objects:
            offset = torch.tensor([thing.x, thing.y]) - poses[:, :2]
            facing = (torch.atan2(offset[:, 1], offset[:, 0]) - poses[:, 2]).cos()
            if bool(((offset.norm(dim=1) < 0.9) & (facing > 0.999)).any()):
                return
    raise AssertionError("nothing was looked at")


def test_most_walks_come_back_to_what_was_seen() -> None:
    returns = oracle_of(WORLD, "a test").returns(SEEDS, 320)
    assert len({each.video for each in returns}) > 0.7 * len(SEEDS)


def test_keys_in_a_room_are_followed_as_walls_follow_them_where_its_doors_are_closed() -> None:
    plan, draw = floor_plan(3), random.Random(0)
    tables, box = scene_tables([plan]), boxes(plan)[plan.start]
    own = sorted(plan.looks).index(plan.start)
    closed = tables.walls | (tables.region != own)
    keys = [leg for _ in range(40) for leg in linger(plan, plan.start, box, draw) if isinstance(leg, HeldKeys)]
    for leg in keys:
        frames = torch.tensor(list(follow_keys(leg, plan.place(plan.start), 0.3)))
        begin = torch.tensor([[*plan.place(plan.start), 0.3]])
        poses, done = walk_with_walls(begin, torch.tensor(leg.wanted)[None], closed)
        torch.testing.assert_close(done[0], frames[:, :2])
        torch.testing.assert_close(poses[0], frames[:, 2:], atol=1e-3, rtol=0)
    assert any(SHORTEST <= len(leg.wanted) <= LONGEST for leg in keys)


def test_whoever_presses_on_against_a_wall_stands_and_can_turn() -> None:
    plan = floor_plan(0)
    ahead = [(float(turn), float(step)) for turn, step in discrete_actions(["ahead"] * 20 + ["left"] * 5).tolist()]
    keys = HeldKeys(tuple(ahead), boxes(plan)[plan.start])
    frames = list(follow_keys(keys, plan.place(plan.start), 0.0))
    assert [step for _, step, *_ in frames] == [1.0] * 5 + [0.0] * 20
    assert frames[-1][2] == frames[5][2]
    assert frames[-1][4] == pytest.approx(math.radians(30))


def test_a_stretch_is_the_same_however_it_is_asked_for() -> None:
    plan = floor_plan(5)
    whole, parts = Walk(plan, 5, "wander"), Walk(plan, 5, "wander")
    late = parts.frames(100, 50)
    assert torch.equal(whole.frames(0, 150)[100:], late)
    assert not torch.equal(Walk(plan, 6, "wander").frames(100, 50), late)


def test_each_pose_is_a_step_from_the_one_before() -> None:
    poses = WORLD.path(9, 0, 600)[1].tolist()
    assert max(math.dist(a[:2], b[:2]) for a, b in pairwise(poses)) < WALK + 1e-4


def test_a_box_in_a_room_of_any_form_holds_no_wall_and_its_middle(tmp_path: Path) -> None:
    rows = ["########", "#aaaa###", "#a##a bb", "#aaaa#bb", "########"]
    path = tmp_path / "ring.txt"
    path.write_text("\n".join(f"{row}#" for row in rows))
    plan, _ = read_map(path)
    for room, (low_x, low_y, high_x, high_y) in boxes(plan).items():
        cells = {(x, y) for x in range(int(low_x), int(high_x)) for y in range(int(low_y), int(high_y))}
        assert room in cells <= plan.areas[room]
    poses = Maze(own_map=plan).under("wander").path(2, 0, 400)[1]
    assert all((math.floor(x), math.floor(y)) in plan.cells for x, y, _ in poses.tolist())
