"""What a visitor of the studio does by keys or thumb, as a policy."""

from malt.sessions.action_policies import THROTTLE, LivePolicy


class StudioPolicy(LivePolicy):
    """Steering in [-1, 1] (left, right), and throttle around a steady one; or turning (left is 1) and walking, or standing.

    Actions of other names stay 0.
    """

    def turn(self, steering: float, throttle: float) -> None:
        """Steer so from the next segment on; both in [-1, 1], a throttle of 0 is the steady one."""
        steering, throttle = (min(1.0, max(-1.0, value)) for value in (steering, throttle))
        wanted = {"steering": steering, "throttle": THROTTLE * (1 + throttle), "turn": -steering, "walk": throttle}
        self.hold({name: value for name, value in wanted.items() if name in self.names})
