"""Walls that stop a step in a model's own maze: by where it knows that it is, and by what its last picture shows there."""

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.memory.places import PlacesMemory
from malt.rollouts.base import RolloutState
from malt.sessions.pipeline import SessionPipeline
from malt.worlds.base import WalledWorld
from malt.worlds.registry import scripted_world


class SolidWalls:
    """What of somebody's actions is done where a session stands, which must have begun with nothing.

    Raises:
        UsageError: the model does not know where it is, or learned no world whose walls can be seen.
    """

    def __init__(self, pipe: SessionPipeline, name: str) -> None:
        world: object = scripted_world(pipe.action_names)
        memories = [each for each in pipe.transformer.memory_modules() if isinstance(each, PlacesMemory)]
        if not isinstance(world, WalledWorld) or not memories:
            raise UsageError(f"the model {name} has no walls that could be seen; leave walls out")
        self._codec, self._world, self._memory = pipe.codec, world, memories[0]

    def __call__(self, state: RolloutState, actions: Float[Tensor, "t a"]) -> Float[Tensor, "t a"]:
        """The actions without the steps that a wall stops."""
        if state.tail is None or not bool(actions.any()):
            return actions
        here, seen = self._memory.poses(state.memory[0])
        frames, _ = self._codec.decode(state.tail)
        pose = torch.tensor(_standing(here[0]))
        return self._world.stopped(frames[0, -1].cpu(), pose, actions, [_standing(each)[:2] for each in seen])


def _standing(pose: Float[Tensor, " 4"]) -> tuple[float, float, float]:
    """x, y and heading."""
    x, y, cos, sin = cast(list[float], pose.tolist())
    return x, y, math.atan2(sin, cos)
