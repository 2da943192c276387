"""A true world as a simulator: what a model learned to show, rendered from where one stands in it."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from malt.env.simulator import Simulated, SimulatorStep
from malt.errors import UsageError
from malt.media.pixels import to_pixels
from malt.rollouts.base import held_bytes
from malt.worlds.base import World

STEP_FRAMES = 16  # of a step, as in the models that come with the package


@runtime_checkable
class SteeredWorld(World, Protocol):
    """A world in which somebody else may act: where one begins, where actions lead, and what is seen from there."""

    def begin(self, seeds: Sequence[int]) -> Float[Tensor, "b p"]:
        """The poses in which the worlds of these seeds are entered."""
        ...

    def act(
        self, seeds: Sequence[int], pose: Float[Tensor, "b p"], actions: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t a"]]:
        """The poses after each action, and what of the actions was done."""
        ...

    def look(
        self, seeds: Sequence[int], poses: Float[Tensor, "b t p"], device: torch.device | str = "cpu"
    ) -> Float[Tensor, "b t 3 h w"]:
        """What is seen from these poses."""
        ...


@dataclass(frozen=True)
class Footing:
    """Where somebody stands in the true world of a seed, and how many frames there have been."""

    seed: int
    pose: Float[Tensor, "1 p"]
    start: int = 0


class TrueSimulator:
    """The world itself. It says nothing, so that a prompt changes nothing."""

    def __init__(self, world: World, frames_per_step: int = STEP_FRAMES) -> None:
        if not isinstance(world, SteeredWorld) or not world.action_names:
            raise UsageError(f"nobody can act in the true world {world.name}: its videos are given; choose another")
        self.world, self.frames_per_step = world, frames_per_step
        self.name = f"the true {world.name}"
        self.action_names, self.frame_rate = tuple(world.action_names), world.frame_rate
        self.frame_size = world.frame_size

    @property
    def identity(self) -> str:
        """That of the world and the size of its frames."""
        return hashlib.sha256(f"{self.name} {self.frame_size}".encode()).hexdigest()

    def state_bytes(self) -> int:
        """The pose."""
        return held_bytes(self.begin(0, ""))

    def begin(self, seed: int, prompt: str) -> Footing:
        """Where the world of this seed is entered."""
        return Footing(seed, self.world.begin([seed]))

    def frames_ahead(self, progress: Footing) -> int:
        """As many as ever."""
        return self.frames_per_step

    def prompted(self, progress: Footing, prompt: str) -> Footing:
        """The same."""
        return progress

    def advance(self, steps: Sequence[SimulatorStep], between: Callable[[], None] | None = None) -> list[Simulated]:
        """What is seen on the way, of all that go equally far at once."""
        groups = defaultdict[int, list[int]](list)
        for number, step in enumerate(steps):
            if step.actions is None:
                raise UsageError(f"{self.name} needs actions: {', '.join(self.action_names)}")
            groups[len(step.actions)].append(number)
        made: dict[int, Simulated] = {}
        for group in groups.values():
            made |= zip(group, self._together([steps[number] for number in group]), strict=True)
        return [made[number] for number in range(len(steps))]

    def _together(self, steps: Sequence[SimulatorStep]) -> list[Simulated]:
        here: list[Footing] = [step.progress for step in steps]
        seeds = [each.seed for each in here]
        actions = torch.stack([step.actions for step in steps if step.actions is not None])
        poses, _ = self.world.act(seeds, torch.cat([each.pose for each in here]), actions)
        frames = self.world.look(seeds, poses)
        return [
            (to_pixels(seen), replace(each, pose=way[-1:].clone(), start=each.start + len(way)))
            for each, way, seen in zip(here, poses, frames, strict=True)
        ]
