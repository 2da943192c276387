"""A walk through a maze: how one through a true maze begins, where its walls stop it, and the map of where one has been."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from malt.rollouts.base import Segment
from malt.studio.policy import StudioPolicy
from malt.worlds.maze.floor_plan import COLOURS, SIDE, floor_plan
from malt.worlds.maze.maze_world import Maze
from malt.worlds.maze.motion import ACTIONS, dead_reckoning

TRUE_FRAMES = 48  # that a walk through a true maze begins with
NOTE = "maze"  # among a session's notes: the seed of the true maze
Actions = Callable[[], Float[Tensor, "t a"] | None]


def walks(names: Sequence[str]) -> bool:
    """Whether these are the actions of somebody who walks through a maze."""
    return tuple(names) == ACTIONS


def true_beginning(seed: int) -> tuple[Float[Tensor, "t 3 h w"], Float[Tensor, "t a"]]:
    """The first frames of a walk through a true maze, and what is done in each."""
    clip = Maze().under("explore").render([seed], 0, TRUE_FRAMES)
    assert clip.actions is not None
    return clip.frames[0], clip.actions[0]


class WalledPolicy(StudioPolicy):
    """A visitor's hand in a true maze: the walls of the maze stop a step."""

    def __init__(self, names: Sequence[str], seed: int, actions: Actions) -> None:
        """A hand in the maze of a seed, where `actions` says what was done so far."""
        super().__init__(names)
        self._seed, self._actions = seed, actions

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """What is done in the next frames."""
        maze, wanted = Maze(), super().__call__(segment, num_frames)
        return maze.act([self._seed], poses(self._actions(), self._seed)[-1:], wanted)[1]


def poses(actions: Float[Tensor, "t a"] | None, seed: int | None) -> Float[Tensor, "_ 3"]:
    """Where one begins, and where one stands behind every frame: x, y and heading, reckoned from what was done.

    Args:
        actions: what was done.
        seed: of the true maze; None where there is none, and one begins at 0, 0.
    """
    begin = torch.zeros(1, 3) if seed is None else Maze().begin([seed])
    return begin if actions is None else torch.cat([begin, dead_reckoning(begin, actions[None])[0]])


def maze_map(actions: Float[Tensor, "t a"] | None, seed: int | None, start: int) -> dict[str, object]:
    """The map as JSON: the floor plan of the true maze, if there is one, and the poses from frame `start` on."""
    path = poses(actions, seed)[1 + start :]
    return {"plan": None if seed is None else _plan(seed), "start": start, "path": path.round(decimals=3).tolist()}


def _plan(seed: int) -> dict[str, object]:
    plan = floor_plan(seed)
    cells = plan.open_cells().items()
    return {
        "side": SIDE,
        "cells": [[x, y, None if room is None else _colour(plan.looks[room].wall)] for (x, y), room in cells],
        "objects": [[each.x, each.y, _colour(each.colour)] for each in plan.objects],
    }


def _colour(name: str) -> str:
    return "#" + "".join(f"{round(255 * level):02x}" for level in COLOURS[name])
