"""Which tokens of a state resemble those of another."""

import torch.nn.functional as F

from malt.memory.state import State

ALIKE = 0.9  # the cosine from which on two tokens hold the same; in one scene most reach 0.97, in two scenes few 0.9


def without_alike(state: State, gone: State, threshold: float = ALIKE) -> State:
    """A state whose tokens that resemble any of `gone` are not valid any more."""
    if not (state.tokens.shape[1] and gone.tokens.shape[1]):
        return state
    own, theirs = (F.normalize(each.tokens.float(), dim=-1) for each in (state, gone))
    alike = (own @ theirs.mT).masked_fill(~gone.valid[:, None], -2.0).amax(dim=2)
    return State(state.tokens, state.valid & (alike < threshold))
