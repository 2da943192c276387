"""What a visitor of the studio does by keys or thumb, as a policy."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from malt.rollouts.base import Segment
from malt.sessions.action_policies import THROTTLE, LivePolicy, neutral_action


class StudioPolicy(LivePolicy):
    """Steering in [-1, 1] (left, right), and throttle around a steady one; or turning (left is 1) and walking, or standing.

    Actions of other names stay 0. What was held for a moment only, between two segments, is done in the first half of the
    next. asked: the number of the latest turn. done: of the one that the last segment follows.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.asked = self.done = 0
        self._neutral = dict(zip(names, neutral_action(names), strict=True))
        self._taps: dict[str, float] = {}

    def turn(self, steering: float, throttle: float, number: int = 0) -> None:
        """Steer so from the next segment on; both in [-1, 1], a throttle of 0 is the steady one."""
        steering, throttle = (min(1.0, max(-1.0, value)) for value in (steering, throttle))
        wanted = {"steering": steering, "throttle": THROTTLE * (1 + throttle), "turn": -steering, "walk": throttle}
        held = {name: value for name, value in wanted.items() if name in self.names}
        self.hold(held)
        self._taps |= {name: value for name, value in held.items() if value != self._neutral[name]}
        self.asked = number

    def __call__(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "1 n a"]:
        """What is done in the next frames."""
        self.done, taps = self.asked, self._taps
        self._taps = {}
        actions = super().__call__(segment, num_frames)
        for name, value in taps.items():
            column = actions[0, :, self.names.index(name)]
            if column[-1] == self._neutral[name]:
                column[: num_frames // 2] = value
        return actions
