"""A session of an environment, a value, and how many of them go on together: by a step of many frames, or frame by frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from malt.env.simulator import Progress, Simulated, Simulator, SimulatorStep

Stepped = tuple[UInt8[np.ndarray, "t h w 3"], "SimulatedSession"]


@dataclass(frozen=True)
class SimulatedSession:
    """Where it stands, and what leads it.

    progress: the simulator's, at a border between steps. prompt: what it shows. taken: what was done in the frames since the
    border, where it goes frame by frame. foreseen: the whole step, should the last action be held; it can be made again.
    """

    progress: Progress
    prompt: str = ""
    taken: Float[Tensor, "t a"] | None = None
    foreseen: Simulated | None = None

    @property
    def num_frames(self) -> int:
        """How many frames it has shown."""
        return int(self.progress.start) + (0 if self.taken is None else len(self.taken))


def step_together(
    simulator: Simulator,
    sessions: Sequence[SimulatedSession],
    actions: Float[Tensor, "n t a"] | None,
    between: Callable[[], None] | None = None,
) -> list[Stepped]:
    """A step of each; where a video's first has fewer frames, the last of the actions count.

    Args:
        simulator: what they are sessions of.
        sessions: none of which stands between two borders.
        actions: what is done in every frame; None for a simulator in which nobody acts.
        between: called now and then; what it raises gives the step up.
    """
    steps = []
    for number, session in enumerate(sessions):
        ahead = simulator.frames_ahead(session.progress)
        done = None if actions is None else actions[number, -ahead:]
        steps.append(SimulatorStep(progress=session.progress, prompt=session.prompt, actions=done))
    made = simulator.advance(steps, between)
    return [(frames, replace(session, progress=after)) for session, (frames, after) in zip(sessions, made, strict=True)]


def step_by_frame(
    simulator: Simulator,
    sessions: Sequence[SimulatedSession],
    actions: Float[Tensor, "n a"],
    between: Callable[[], None] | None = None,
) -> list[Stepped]:
    """A frame of each.

    The whole step is made as if the action were held, and its frames are handed out while it is. Where another action comes,
    the step is made again from its border, with what was done so far and the new action from here on. So what is remembered
    is, to the bit, what a step with all of these actions would have left.
    """
    acted = [_acted(session, action) for session, action in zip(sessions, actions, strict=True)]
    unforeseen = [number for number, session in enumerate(acted) if session.foreseen is None]
    steps = [_held(simulator, acted[number]) for number in unforeseen]
    for number, made in zip(unforeseen, simulator.advance(steps, between) if steps else (), strict=True):
        acted[number] = replace(acted[number], foreseen=made)
    return [_shown(session) for session in acted]


def _acted(session: SimulatedSession, action: Float[Tensor, " a"]) -> SimulatedSession:
    """The session after an action; what was foreseen under another is no longer."""
    if session.taken is None:
        return replace(session, taken=action[None], foreseen=None)
    foreseen = session.foreseen if torch.equal(session.taken[-1], action) else None
    return replace(session, taken=torch.cat([session.taken, action[None]]), foreseen=foreseen)


def _held(simulator: Simulator, session: SimulatedSession) -> SimulatorStep:
    """The step in which the last action is held."""
    assert session.taken is not None
    missing = simulator.frames_ahead(session.progress) - len(session.taken)
    actions = torch.cat([session.taken, session.taken[-1:].expand(missing, -1)])
    return SimulatorStep(progress=session.progress, prompt=session.prompt, actions=actions)


def _shown(session: SimulatedSession) -> Stepped:
    """The latest frame, and the session behind it, at a border if that was the step's last."""
    assert session.foreseen is not None and session.taken is not None
    (frames, after), count = session.foreseen, len(session.taken)
    if count == len(frames):
        session = replace(session, progress=after, taken=None, foreseen=None)
    return frames[count - 1 : count], session
