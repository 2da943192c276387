"""What is done in a video by a model that takes actions: a file of them, or a policy that comes with malt."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from malt.errors import UsageError
from malt.wording import counted

if TYPE_CHECKING:
    from malt.rollouts.base import ActionPolicy


def choose_policy(
    names: Sequence[str],
    *,
    policy: str | None,
    actions: Path | None,
    seed: int,
    frame_rate: float,
    start: int,
    end: int | None,
) -> "ActionPolicy | None":
    """What drives a model whose actions have these names: a file, or a policy by its name; None where none have.

    Raises:
        UsageError: nothing drives a model that acts, something drives one that does not, or the file does not fit.
    """
    if not names:
        if policy or actions:
            raise UsageError("this model takes no actions; leave --actions and --policy out, or choose another --model")
        return None
    if actions is not None:
        return _script(names, actions, start, end)
    from malt.env.named_policies import named_policy, policy_names

    if policy is None:
        raise UsageError(
            f"this model acts ({', '.join(names)}); give --actions FILE or --policy {policy_names(names)[0]}"
        )
    return named_policy(policy, names, frame_rate=frame_rate, seed=seed, start=start)


def count_actions(path: Path) -> int:
    """For how many frames a file has actions."""
    from malt.media.actions_csv import read_actions

    return len(read_actions(path).values)


def _script(wanted: Sequence[str], path: Path, start: int, end: int | None) -> "ActionPolicy":
    import torch

    from malt.media.actions_csv import read_actions
    from malt.sessions.action_policies import ReplayPolicy, arrange

    names, values = read_actions(path)
    if end is None or len(values) < end:
        how_many = "a video without end" if end is None else counted(end, "frame")
        raise UsageError(
            f"{path} has actions for {counted(len(values), 'frame')}, not for {how_many}; give one row a frame"
        )
    return ReplayPolicy(arrange(names, torch.from_numpy(values), wanted), start)
