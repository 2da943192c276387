"""Environments as gymnasium has them: a `VectorEnv`, and a single `Env` of it, with rewards of one's own.

Needs the extra `env`. Nothing ever ends in a world of its own accord: wrap it into gymnasium's `TimeLimit` for episodes.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Float, UInt8

from malt.env.environment import Environment
from malt.errors import UsageError

Observation = UInt8[np.ndarray, "*n t h w 3"]
Reward = Callable[[UInt8[np.ndarray, "n t h w 3"]], Float[np.ndarray, " n"]]  # what each step's frames are worth


def nothing(frames: UInt8[np.ndarray, "n t h w 3"]) -> Float[np.ndarray, " n"]:
    """The reward where none is given."""
    return np.zeros(len(frames))


class WorldVectorEnv(VectorEnv[Observation, np.ndarray, np.ndarray]):
    """Many sessions of an environment; an observation is what a step shows, an action is held for it."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, environment: Environment, reward: Reward = nothing) -> None:
        if not environment.action_names:
            raise UsageError(f"nobody acts in {environment.simulator.name}, so that it is no environment of gymnasium")
        self.environment, self.reward, self.num_envs = environment, reward, environment.num_envs
        self.single_observation_space, self.single_action_space = spaces(environment)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._frames = np.zeros((self.num_envs, *environment.frame_shape), np.uint8)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin anew; `options` may hold a `prompt`, and a `reset_mask` of those that do."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        chosen, options = _chosen(seed, self.np_random), options or {}
        frames = self.environment.reset(chosen, options.get("prompt", ""), mask=options.get("reset_mask"))
        is_new = np.ones(self.num_envs, bool) if "reset_mask" not in options else np.asarray(options["reset_mask"])
        self._frames = np.where(is_new[:, None, None, None, None], frames, self._frames)
        return self._frames.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """What is seen, its reward, and that nothing has ended."""
        self._frames = self.environment.step(actions)
        going = np.zeros(self.num_envs, bool)
        return self._frames, np.asarray(self.reward(self._frames), np.float64), going, going.copy(), {}

    def render(self) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
        """The latest frame of each session."""
        return tuple(self._frames[:, -1])

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environment."""
        self.environment.close()


class WorldEnv(gymnasium.Env[Observation, np.ndarray]):
    """One session of an environment."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, environment: Environment, reward: Reward = nothing, render_mode: str | None = None) -> None:
        if environment.num_envs != 1:
            raise UsageError(f"an Env has one session, and this environment {environment.num_envs}; use WorldVectorEnv")
        self._vector, self.environment, self.render_mode = WorldVectorEnv(environment, reward), environment, render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self.metadata = self.metadata | {"render_fps": environment.simulator.frame_rate}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin anew; `options` may hold a `prompt`."""
        super().reset(seed=seed)
        frames, told = self._vector.reset(seed=_chosen(seed, self.np_random), options=options)
        return frames[0], told

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """What is seen, its reward, and that nothing has ended."""
        frames, rewards, _, _, told = self._vector.step(np.asarray(action)[None])
        return frames[0], float(rewards[0]), False, False, told

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """The latest frame."""
        return self._vector.render()[0]

    def close(self) -> None:
        """Close the environment."""
        self._vector.close()


def spaces(environment: Environment) -> tuple[Box, Box]:
    """What one session's step shows, and what can be done in it."""
    seen = Box(0, 255, environment.frame_shape, np.uint8)
    return seen, Box(-1, 1, (len(environment.action_names),), np.float32)


def _chosen(seed: int | list[int | None] | None, chance: np.random.Generator) -> Any:
    """The seeds that are given; where none is, one that gymnasium's generator draws."""
    if isinstance(seed, list):
        return [int(chance.integers(2**31)) if each is None else each for each in seed]
    return int(chance.integers(2**31)) if seed is None else seed
