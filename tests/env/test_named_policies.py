"""Policies by name: those of the world that a model walks in, those that steer, and what the server takes of them."""

import pytest
import torch

import tiny_pipeline
from malt.env.named_policies import named_policy, policy_names
from malt.errors import UsageError
from malt.serving.limits import Limits
from malt.serving.requests import RequestValidator
from malt.serving.schemas import VideoRequest
from malt.worlds.maze.maze_world import Maze

WALKER, CAR = ("turn", "walk"), ("steering", "throttle")


def test_a_walker_has_the_policies_of_the_maze_and_a_car_its_courses() -> None:
    assert policy_names(WALKER) == Maze().policies
    assert policy_names(CAR) == ("cruise", "weave")


@pytest.mark.parametrize(("names", "policy"), [(WALKER, "return"), (CAR, "cruise")])
def test_a_policy_goes_on_from_any_frame(names: tuple[str, ...], policy: str) -> None:
    whole = named_policy(policy, names, frame_rate=16, seed=4)(None, 48)
    late = named_policy(policy, names, frame_rate=16, seed=4, start=32)(None, 16)
    assert whole.shape == (1, 48, 2) and torch.equal(late, whole[:, 32:])


def test_the_server_takes_the_policies_of_its_model_and_names_them() -> None:
    walker = tiny_pipeline.pipeline(settings={"action_names": list(WALKER)}, action_dim=8)
    validator = RequestValidator(walker, "tiny", Limits())
    walked = validator.validate(VideoRequest(num_frames=16, seed=4, driver="loop"))
    policy = validator.driver(walked, start=16)
    assert policy is not None
    assert torch.equal(policy(None, 8)[0], Maze().under("loop").actions(4, 16, 8))
    with pytest.raises(UsageError, match="say what drives it: explore or replay or loop or return or wander"):
        validator.validate(VideoRequest(num_frames=16, seed=4))
    with pytest.raises(UsageError, match="has no policy 'cruise'; choose one of explore"):
        validator.validate(VideoRequest(num_frames=16, seed=4, driver="cruise"))
