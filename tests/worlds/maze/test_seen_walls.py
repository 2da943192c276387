"""Laws of walls in sight: a door is told from a wall by its sill, and no step goes towards a wall."""

import math

import pytest
import torch

from malt.worlds.base import WalledWorld
from malt.worlds.maze.floor_plan import STEPS, floor_plan, middle
from malt.worlds.maze.maze_world import Maze
from malt.worlds.maze.motion import discrete_actions
from malt.worlds.maze.seen_walls import View, stop_at_walls

WORLD, AHEAD = Maze(), discrete_actions(["ahead"] * 16)
NEARER = 5  # steps from the middle of a room to where no nearer one comes


def views(seed: int, aside: float = 0.0, nearer: float = 0.0) -> list[tuple[bool, View]]:
    """The four walls of the room that one begins in, seen from its middle or nearer, and whether there is a door in each."""
    plan = floor_plan(seed)
    x, y = middle(plan.start)
    headings = [turns * math.pi / 2 + aside for turns in range(4)]
    places = [(nearer * dx, nearer * dy) for dx, dy in STEPS]
    poses = [[x + dx, y + dy, heading] for (dx, dy), heading in zip(places, headings, strict=True)]
    pictures = WORLD.look([seed], torch.tensor([poses]))[0]
    beside = [(plan.start[0] + dx, plan.start[1] + dy) in plan.neighbours(plan.start) for dx, dy in STEPS]
    seen = [View(*view) for view in zip(pictures, places, headings, strict=True)]
    return list(zip(beside, seen, strict=True))


def test_the_maze_is_a_world_of_walls_that_can_be_seen() -> None:
    assert isinstance(WORLD, WalledWorld)


@pytest.mark.parametrize("aside", [0.0, 0.15, -0.15])
def test_one_walks_through_doors_and_only_up_to_walls(aside: float) -> None:
    for seed in range(8):
        for door, view in views(seed, aside):
            steps = stop_at_walls(view, AHEAD)[:, 1].sum()
            assert steps == NEARER if not door else steps == 16 if aside == 0 else steps >= NEARER


@pytest.mark.parametrize(("nearer", "steps"), [(1.0, 0), (-0.5, NEARER + 2)])
def test_who_stands_at_a_wall_stays_there_and_comes_as_near_to_the_wall_behind(nearer: float, steps: int) -> None:
    for seed in range(8):
        for door, view in views(seed, nearer=nearer):
            assert stop_at_walls(view, AHEAD)[:, 1].sum() == (16 if door else steps)


def test_a_door_that_was_walked_through_is_open_though_it_is_out_of_sight() -> None:
    view = next(view for door, view in views(0) if not door)
    sill = (2 * math.cos(view.heading), 2 * math.sin(view.heading))
    assert stop_at_walls(view, AHEAD)[:, 1].sum() == NEARER
    assert stop_at_walls(view, AHEAD, [sill])[:, 1].all()


def test_turns_are_never_stopped_and_steps_go_on_once_no_wall_is_ahead() -> None:
    wall = next(view for door, view in views(1) if not door)
    actions = torch.cat([AHEAD, discrete_actions(["left"] * 30 + ["ahead"])])
    done = stop_at_walls(wall, actions)
    assert torch.equal(done[:, 0], actions[:, 0])
    assert done[:16, 1].sum() == NEARER and done[-1, 1] == 1  # back the way it came; what is behind is not in sight


def test_the_corners_of_rooms_are_walls_whatever_the_picture() -> None:
    view = View(torch.zeros(3, 64, 64), (0.0, 1.2), 0.0)
    assert not stop_at_walls(view, AHEAD)[NEARER:, 1].any()
