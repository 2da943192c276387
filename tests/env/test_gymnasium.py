"""Environments pass gymnasium's own checks."""

import warnings
from typing import Any

import numpy as np
import pytest

import malt
import tiny_pipeline
from malt.errors import UsageError
from malt.pipelines.malt import MaltPipeline

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed (extra `env`)")


@pytest.fixture(scope="module")
def pipe() -> MaltPipeline:
    return tiny_pipeline.pipeline(action_dim=8)


def brightness(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=(1, 2, 3, 4)) / 255


@pytest.mark.parametrize("by_frame", [False, True])
def test_a_single_environment_passes_the_checker(pipe: MaltPipeline, by_frame: bool) -> None:
    from gymnasium.utils.env_checker import check_env

    from malt.env.gymnasium import WorldEnv

    env = WorldEnv(malt.make(pipe, by_frame=by_frame), brightness, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", ".*Not able to test alternative render modes.*")
        check_env(env)
    assert env.render().shape == (tiny_pipeline.SIDE, tiny_pipeline.SIDE, 3)


def test_a_vector_environment_keeps_to_its_spaces(pipe: MaltPipeline) -> None:
    from malt.env.gymnasium import WorldVectorEnv

    env: Any = WorldVectorEnv(malt.make(pipe, 3), brightness)
    frames, _ = env.reset(seed=7)
    assert env.observation_space.contains(frames)
    seen, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
    assert env.observation_space.contains(seen)
    assert rewards == pytest.approx(brightness(seen)) and not terminated.any() and not truncated.any()
    again, _ = env.reset(seed=7)
    assert (again == frames).all()
    fresh, _ = env.reset(seed=[8, 9, 10], options={"reset_mask": np.array([True, False, True])})
    assert (fresh[1] == frames[1]).all() and (fresh[0] != frames[0]).any()
    env.close()
    with pytest.raises(UsageError, match="closed"):
        env.step(env.action_space.sample())


def test_its_own_wrappers_go_around_it(pipe: MaltPipeline) -> None:
    from gymnasium.wrappers import TimeLimit

    from malt.env.gymnasium import WorldEnv

    env = TimeLimit(WorldEnv(malt.make(pipe)), max_episode_steps=2)
    env.reset(seed=1)
    assert [env.step(env.action_space.sample())[3] for _ in range(2)] == [False, True]


def test_where_nobody_acts_there_is_no_environment_of_gymnasium(pipe: MaltPipeline) -> None:
    from malt.env.gymnasium import WorldEnv, WorldVectorEnv

    with pytest.raises(UsageError, match="nobody acts"):
        WorldVectorEnv(malt.make(tiny_pipeline.pipeline()))
    with pytest.raises(UsageError, match="an Env has one session, and this environment 2"):
        WorldEnv(malt.make(pipe, 2))
