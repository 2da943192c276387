"""A world model, or a true world, as a vector environment: reset, step, fork, and states as bytes.

A state is a value, so that a fork costs nothing and nothing is lost where a step fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbelow

import numpy as np
import torch
from jaxtyping import UInt8

from malt.env.action_check import check_actions
from malt.env.simulated_session import SimulatedSession, Stepped, step_by_frame, step_together
from malt.env.simulator import Simulator
from malt.env.state_bytes import read_state, write_state
from malt.errors import UsageError
from malt.rollouts.noise import video_seeds
from malt.sessions.action_policies import neutral_action
from malt.wording import counted

MAX_SESSIONS = 256
DRAWN_SEEDS = 2**31
HEAD_BYTES = 2**20  # of a state, at most, beside its sessions
Frames = UInt8[np.ndarray, "n t h w 3"]


@dataclass(frozen=True, kw_only=True)
class MemorySpec:
    """What an environment takes, known before anything runs.

    session_bytes: of one session, at most. frames_per_step: that a step hands out. max_sessions: that it may hold, forks
    included.
    """

    session_bytes: int
    frames_per_step: int
    max_sessions: int


class Environment:
    """Sessions of one simulator that go on together; use `malt.make`.

    Frames are uint8 (n, t, H, W, 3). Actions are (n, a), held for the whole step, or (n, t, a), each from -1 to 1. One
    environment belongs to one thread; those that share a simulator may run in different threads.
    """

    def __init__(
        self,
        simulator: Simulator,
        num_envs: int = 1,
        *,
        by_frame: bool = False,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        """Sessions that are to be reset.

        Args:
            simulator: what they are sessions of.
            num_envs: how many.
            by_frame: whether a step is one frame, not a segment's worth of them.
            max_sessions: how many sessions this environment, or a fork of it, may hold.

        Raises:
            UsageError: there are none, or too many.
        """
        self.simulator, self.by_frame, self.max_sessions = simulator, by_frame, max_sessions
        self._check_count(num_envs, "make")
        if by_frame and not simulator.action_names:
            raise UsageError(f"nobody acts in {simulator.name}; step by segments")
        self.num_envs = num_envs
        self._sessions: tuple[SimulatedSession, ...] | None = None
        self._is_closed = False

    @property
    def action_names(self) -> tuple[str, ...]:
        """What the numbers of an action mean."""
        return self.simulator.action_names

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """Frames of a step, height, width and colours."""
        return (1 if self.by_frame else self.simulator.frames_per_step, *self.simulator.frame_size, 3)

    @property
    def sessions(self) -> tuple[SimulatedSession, ...]:
        """Where each session stands, a value.

        Raises:
            UsageError: it is closed, or was never reset.
        """
        if self._is_closed:
            raise UsageError("the environment is closed; make another")
        if self._sessions is None:
            raise UsageError("nothing has begun; reset the environment first, or restore a state")
        return self._sessions

    def memory_spec(self) -> MemorySpec:
        """Bytes of a session and frames of a step, from shapes alone."""
        return MemorySpec(
            session_bytes=self.simulator.state_bytes(),
            frames_per_step=self.frame_shape[0],
            max_sessions=self.max_sessions,
        )

    def reset(
        self,
        seed: int | Sequence[int] | None = None,
        prompt: str | Sequence[str] = "",
        *,
        mask: Sequence[bool] | None = None,
    ) -> Frames:
        """Begin anew, and make the first step, in which nobody does anything.

        Args:
            seed: what chance starts from: one for each session, or one from which all follow; drawn by default.
            prompt: what is shown, in each or in all; may be "" where there are actions.
            mask: which sessions begin anew; all by default. The others stay, and show nothing (black) here.

        Raises:
            UsageError: the seeds, prompts or marks are not as many as the sessions, or do not fit.
        """
        if self._is_closed or mask is not None:
            held = self.sessions  # refuses what is closed, or has others that never began
        chosen = range(self.num_envs) if mask is None else self._marked(mask)
        seeds = video_seeds(randbelow(DRAWN_SEEDS) if seed is None else _seeds(seed), self.num_envs)
        prompts = [prompt] * self.num_envs if isinstance(prompt, str) else list(prompt)
        if len(prompts) != self.num_envs:
            raise UsageError(
                f"got {counted(len(prompts), 'prompt')} for {counted(self.num_envs, 'session')}; give one, or one for each"
            )
        begun = [SimulatedSession(self.simulator.begin(seeds[n], prompts[n]), prompts[n]) for n in chosen]
        stepped = self._first_steps(begun)
        sessions, frames = dict[int, SimulatedSession](), np.zeros((self.num_envs, *self.frame_shape), np.uint8)
        for number, (seen, session) in zip(chosen, stepped, strict=True):
            sessions[number], frames[number] = session, self._padded(seen)
        self._sessions = tuple(sessions[n] if n in sessions else held[n] for n in range(self.num_envs))
        return frames

    def step(self, actions: object = None) -> Frames:
        """A segment's worth of frames of every session, or one frame, made in one forward pass.

        Args:
            actions: (n, a) for the whole step, or (n, t, a); None where nobody acts.

        Raises:
            UsageError: the actions do not fit, the environment is closed, or was never reset.
            MaltError: the simulator fails; every session stands where it stood.
        """
        sessions, names = self.sessions, self.action_names
        done = check_actions(actions, self.num_envs, self.frame_shape[0], names)
        if self.by_frame:
            assert done is not None
            stepped = step_by_frame(self.simulator, sessions, done[:, 0])
        else:
            stepped = step_together(self.simulator, sessions, done)
        self._sessions = tuple(session for _, session in stepped)
        return np.stack([self._padded(frames) for frames, _ in stepped])

    def set_prompt(self, prompt: str, index: int | None = None) -> None:
        """Show something else from the next step on, in one session or in all; where frames go by, from the next border on.

        Raises:
            UsageError: the prompt does not fit, or there is no such session.
        """
        chosen = range(self.num_envs) if index is None else [self._check_index(index)]
        sessions = list(self.sessions)
        for number in chosen:
            progress = self.simulator.prompted(sessions[number].progress, prompt)
            sessions[number] = SimulatedSession(progress, prompt, sessions[number].taken)
        self._sessions = tuple(sessions)

    def fork(self, index: int = 0, copies: int = 1) -> "Environment":
        """Another environment whose sessions all stand where this one's session `index` does; what they do is their own.

        Raises:
            UsageError: there is no such session, or more copies than `max_sessions`.
        """
        self._check_count(copies, "fork")
        session = self.sessions[self._check_index(index)]
        fork = Environment(self.simulator, copies, by_frame=self.by_frame, max_sessions=self.max_sessions)
        fork._sessions = (session,) * copies
        return fork

    def state(self, index: int | None = None) -> bytes:
        """Where session `index` stands, or all of them, as bytes."""
        chosen = self.sessions if index is None else (self.sessions[self._check_index(index)],)
        return write_state(self.simulator, chosen)

    def restore(self, state: bytes, index: int | None = None) -> None:
        """Go on from a state: session `index` from one of a single session, or all of them.

        Raises:
            UsageError: it is one of another model, or of another number of sessions.
            MaltError: it is damaged; the sessions stand where they stood.
        """
        if self._is_closed:
            raise UsageError("the environment is closed; make another")
        most = self.max_sessions * self.simulator.state_bytes() + HEAD_BYTES
        found, wanted = read_state(self.simulator, state, most), self.num_envs if index is None else 1
        if len(found) != wanted:
            raise UsageError(f"the state is one of {len(found)} sessions, and {wanted} are to be restored; say which")
        if any(session.taken is not None for session in found) and not self.by_frame:
            raise UsageError("the state stands within a step; restore it where steps are frames (by_frame=True)")
        if index is not None:
            place = self._check_index(index)
            found = [*self.sessions[:place], *found, *self.sessions[place + 1 :]]
        self._sessions = tuple(found)

    def close(self) -> None:
        """Let go of all sessions; nothing can be done from then on."""
        self._is_closed, self._sessions = True, None

    def _first_steps(self, begun: Sequence[SimulatedSession]) -> list[Stepped]:
        idle = torch.tensor([neutral_action(self.action_names)] * len(begun)) if self.action_names else None
        if self.by_frame:
            assert idle is not None
            return step_by_frame(self.simulator, begun, idle)
        whole = None if idle is None else idle[:, None].expand(-1, self.frame_shape[0], -1)
        return step_together(self.simulator, begun, whole)

    def _padded(self, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
        """As many frames as a step has: a video's first may be shorter, and then begins with its first frame again."""
        missing = self.frame_shape[0] - len(frames)
        return np.concatenate([np.repeat(frames[:1], missing, axis=0), frames]) if missing > 0 else frames

    def _marked(self, mask: Sequence[bool]) -> list[int]:
        if len(mask) != self.num_envs:
            raise UsageError(f"there are {len(mask)} marks for {self.num_envs} sessions; give one for each")
        return [number for number, is_marked in enumerate(mask) if is_marked]

    def _check_index(self, index: int) -> int:
        if not 0 <= index < self.num_envs:
            raise UsageError(f"there is no session {index}; give one from 0 to {self.num_envs - 1}")
        return index

    def _check_count(self, count: int, verb: str) -> None:
        if not 1 <= count <= self.max_sessions:
            raise UsageError(
                f"asked to {verb} {count} sessions; an environment here holds 1 to {self.max_sessions} "
                "(max_sessions, as memory_spec says)"
            )


def _seeds(seed: int | Sequence[int]) -> int | tuple[int, ...]:
    return int(seed) if isinstance(seed, int | np.integer) else tuple(int(each) for each in seed)
