"""The ways to make a long video by name: the one place where a word becomes a rollout."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from inspect import signature

from malt.errors import UsageError
from malt.rollouts.base import Rollout
from malt.rollouts.diffusion_forcing import DiffusionForcingRollout
from malt.rollouts.from_frame import FromFrameRollout
from malt.rollouts.full import FullRollout
from malt.rollouts.keyframes import KeyframesRollout
from malt.rollouts.malt import MaltRollout
from malt.rollouts.sliding_window import SlidingWindowRollout

ROLLOUTS: dict[str, Callable[..., Rollout]] = {
    "malt": MaltRollout,
    "full": FullRollout,
    "sliding_window": SlidingWindowRollout,
    "keyframes": KeyframesRollout,
    "diffusion_forcing": DiffusionForcingRollout,
}

MANY_LEVELS = ("keyframes", "diffusion_forcing")  # ways in which the frames of a pass go down by steps of their own


def build_rollout(name: str, base: MaltRollout, **settings: object) -> Rollout:
    """The rollout of this name, with the network, codec, sampler, steps, guidance and captions of `base`; `malt` is base.

    Args:
        name: one of `ROLLOUTS`.
        base: what all of them have in common.
        settings: those of that way alone, such as `window` of sliding_window; of malt, any field of `MaltRollout`.

    Raises:
        UsageError: for a name or a setting that there is not, or a value with which nothing can be made.
    """
    if name not in ROLLOUTS:
        raise UsageError(
            f"there is no rollout called {name!r}{_nearest(name, ROLLOUTS)}; choose one of {', '.join(ROLLOUTS)}"
        )
    known = signature(ROLLOUTS[name]).parameters.keys() - {"base"}
    for setting in settings:
        if setting not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise UsageError(f"{name} has no setting called {setting!r}{_nearest(setting, known)}; {takes}")
    if isinstance(base, FromFrameRollout) and name != "malt":
        raise UsageError(f"a base that goes on from an image does so in one way; leave the rollout {name} out")
    if base.transformer.distilled and name in MANY_LEVELS:
        raise UsageError(
            f"a distilled model knows steps of whole segments, and {name} has frames at several noise levels; use its teacher"
        )
    if name == "malt":
        kind: Callable[..., Rollout] = type(base)
        return kind(**{**vars(base), **settings}) if settings else base
    return ROLLOUTS[name](base=base, **settings)


def _nearest(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word, list(words), n=1)
    return f", did you mean {close[0]!r}" if close else ""
