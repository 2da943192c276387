"""A driver that a visitor holds: it does what they do while the video is made."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from malt.generation.drivers import THROTTLE
from malt.generation.rollout import Segment

TURN_FRAMES = 4  # how long it takes to follow a hand


class Wheel:
    """Steering in [-1, 1] (left, right) and throttle around a steady one; actions of other names stay 0."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._wanted = {"steering": 0.0, "throttle": THROTTLE}
        self._held = dict(self._wanted)

    def turn(self, steering: float, throttle: float) -> None:
        """Hold the wheel so from the next segment on; both in [-1, 1], a throttle of 0 is the steady one."""
        steering, throttle = (min(1.0, max(-1.0, value)) for value in (steering, throttle))
        self._wanted = {"steering": steering, "throttle": THROTTLE * (1 + throttle)}

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """What is done in the next frames: evenly from how it was held to how it is held now."""
        share = ((torch.arange(num_frames) + 1) / TURN_FRAMES).clamp(max=1)
        held, self._held = self._held, self._wanted
        columns = {name: held[name] + share * (self._held[name] - held[name]) for name in held}
        return torch.stack([columns.get(name, torch.zeros(num_frames)) for name in self._names], dim=1)[None]
