"""Policies by name, for a model with such actions: those of the world that it walks in, or those that steer."""

from collections.abc import Sequence

from malt.rollouts.base import ActionPolicy
from malt.sessions.action_policies import COURSES, FunctionPolicy, build_policy
from malt.worlds.base import ScriptedWorld
from malt.worlds.registry import scripted_world


def policy_names(action_names: Sequence[str]) -> tuple[str, ...]:
    """The names that `named_policy` takes, for a model whose actions are called so."""
    world = scripted_world(action_names)
    return world.policies if world else tuple(COURSES)


def named_policy(
    name: str, action_names: Sequence[str], *, frame_rate: float, seed: int = 0, start: int = 0
) -> ActionPolicy:
    """The policy of this name, from frame `start` on.

    Args:
        name: one of `policy_names`.
        action_names: of the model.
        frame_rate: frames a second.
        seed: of the course, or of the walk.
        start: the first frame for which it will be asked.

    Raises:
        UsageError: there is no such policy for a model with these actions.
    """
    world = scripted_world(action_names)
    if world is None:
        return build_policy(name, action_names, frame_rate=frame_rate, seed=seed, start=start)
    walked = world.under(name)
    assert isinstance(walked, ScriptedWorld)
    return FunctionPolicy(lambda first, count: walked.actions(seed, first, count), start)
