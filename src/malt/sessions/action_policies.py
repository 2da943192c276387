"""Drivers that come with malt: what is done in every frame of a video by a model that takes actions.

A driver is any callable that is handed the last segment (None at first) and a number of frames; it says what is done in
each, (b, t, a). Those here look at nothing and start from a seed, so that a run can be repeated.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.rollouts.base import ActionPolicy, Segment

CRUISE_SECONDS = (3.0, 12.0)  # the periods of the slow waves that make up a smooth random course
WEAVE_SECONDS = 4.0
STEER, THROTTLE = 0.5, 0.3
TURN_FRAMES = 4  # how long it takes to follow a hand


@dataclass
class ReplayPolicy:
    """A driver that hands out the rows of a list of actions, from row `start` on."""

    actions: Float[Tensor, "t a"]
    start: int = 0

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """The next rows; beyond the list, which may end in mid-segment, the last one again."""
        frames = torch.arange(self.start, self.start + num_frames).clamp(max=len(self.actions) - 1)
        self.start += num_frames
        return self.actions[frames][None]


@dataclass
class FunctionPolicy:
    """What a function says is done, given the first frame and their number, from frame `start` on."""

    actions: Callable[[int, int], Float[Tensor, "t a"]]
    start: int = 0

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """What is done in the next frames."""
        first, self.start = self.start, self.start + num_frames
        return self.actions(first, num_frames)[None]


@dataclass
class CurvePolicy:
    """A driver whose steering is a function of time (seconds), at constant throttle; other actions stay 0."""

    names: Sequence[str]
    frame_rate: float
    steering: Callable[[Tensor], Tensor]
    start: int = 0

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """What is done in the next frames."""
        frames = torch.arange(self.start, self.start + num_frames)
        self.start += num_frames
        steering = self.steering(frames / self.frame_rate)
        columns = {"steering": steering, "throttle": torch.full_like(steering, THROTTLE)}
        return torch.stack([columns.get(name, torch.zeros_like(steering)) for name in self.names], dim=1)[None]


class LivePolicy:
    """A driver that somebody holds: it does what they do while the video is made; at first, nothing but go on straight."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._wanted = dict(zip(names, neutral_action(names), strict=True))
        self._held = self._wanted

    def hold(self, actions: Mapping[str, float]) -> None:
        """Do this from the next segment on; what is not named stays as it is.

        Raises:
            UsageError: the model has no such action.
        """
        if unknown := [name for name in actions if name not in self.names]:
            raise UsageError(f"this model has no action {', '.join(unknown)}; it has {', '.join(self.names)}")
        self._wanted = {**self._wanted, **actions}

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """What is done in the next frames: evenly from how it was held to how it is held now."""
        share = ((torch.arange(num_frames) + 1) / TURN_FRAMES).clamp(max=1)
        held, self._held = self._held, self._wanted
        columns = [held[name] + share * (self._held[name] - held[name]) for name in self.names]
        return torch.stack(columns, dim=1)[None]


def neutral_action(names: Sequence[str]) -> list[float]:
    """What is done where nobody does anything: a car goes on straight, whoever walks stands still."""
    return [THROTTLE if name == "throttle" else 0.0 for name in names]


def cruise(seed: int) -> Callable[[Tensor], Tensor]:
    """A smooth random course: slow waves of random periods and phases."""
    chance = torch.Generator().manual_seed(seed)
    shortest, longest = CRUISE_SECONDS
    periods = shortest + (longest - shortest) * torch.rand(6, generator=chance)
    phases = 2 * math.pi * torch.rand(6, generator=chance)
    return lambda time: STEER * torch.sin(2 * math.pi * time[:, None] / periods + phases).sum(dim=1) / math.sqrt(6)


def weave(seed: int) -> Callable[[Tensor], Tensor]:
    """From side to side, evenly; the same whatever the seed."""
    return lambda time: STEER * torch.sin(2 * math.pi * time / WEAVE_SECONDS)


COURSES = {"cruise": cruise, "weave": weave}


def build_policy(name: str, names: Sequence[str], *, frame_rate: float, seed: int = 0, start: int = 0) -> ActionPolicy:
    """The policy of this name, for a model whose actions are called `names`, from frame `start` on.

    Raises:
        UsageError: there is no such policy, or the model does not steer.
    """
    if name not in COURSES:
        raise UsageError(f"there is no policy {name!r}; choose one of {', '.join(COURSES)}")
    if "steering" not in names:
        raise UsageError(f"the policy {name} steers, which this model does not ({', '.join(names)}); give its actions")
    return CurvePolicy(names, frame_rate, COURSES[name](seed), start)


def arrange(names: Sequence[str], values: Float[Tensor, "t a"], wanted: Sequence[str]) -> Float[Tensor, "t _"]:
    """Columns of actions in the order in which a model wants them.

    Raises:
        UsageError: a wanted one is missing.
    """
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UsageError(f"the actions lack {', '.join(missing)} (there are {', '.join(names)}); name a column so")
    return values[:, [list(names).index(name) for name in wanted]]
