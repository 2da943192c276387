"""What is new takes a place, what resembles an entry is merged into it, and the most redundant entry goes first (ours).

Two entries resemble each other by the cosine of their tokens. Entries are in the order of their age, unwritten ones first, but
where something was forgotten by hand.
Every list decides for itself, all of them at once, and what is kept carries its gradient.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from malt.memory.exact import without_autocast
from malt.memory.protocol import unit_rms
from malt.memory.state import State, side_by_side


@dataclass(frozen=True)
class Novelty:
    """What counts as new.

    threshold: the cosine from which on a token resembles an entry. merge: how far the entry then moves towards it, 0 for a
    first impression that stays, 1 for the latest. floor: so many places are taken whatever they resemble.
    """

    threshold: float = 0.9
    merge: float = 0.0
    floor: int = 1

    def __post_init__(self) -> None:
        """Refuse what no cosine, no share or no number can be."""
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"a similarity threshold of {self.threshold} cannot be; give a number from -1 to 1")
        if not 0 <= self.merge <= 1:
            raise ValueError(
                f"merge is {self.merge}; give a share from 0 (keep what is stored) to 1 (take what is new)"
            )
        if self.floor < 0:
            raise ValueError(f"floor is {self.floor}; give 0 or more")


def keep_new_frame(frames: State, frame: State, novelty: Novelty) -> State:
    """`keep_new` at every place of a frame for itself: a scene in which little is new needs few places there.

    Args:
        frames: (b, entries x tokens per frame): the entries, each a frame's.
        frame: (b, tokens per frame): what may be new.
        novelty: what counts as new.
    """
    batch, per_frame = frame.valid.shape
    lists, new = (
        State(*(x.unflatten(1, (-1, per_frame)).transpose(1, 2).flatten(0, 1) for x in each))
        for each in (frames, frame)
    )
    kept = keep_new(lists, new, novelty)
    return State(*(x.unflatten(0, (batch, per_frame)).transpose(1, 2).flatten(1, 2) for x in kept))


def keep_new(entries: State, new: State, novelty: Novelty) -> State:
    """Lists of entries (p, e, d) after one more token each (p, 1, d); where that does not count, they are as they were."""
    tokens, valid = side_by_side(entries, new)
    choice = choose(State(tokens, valid), novelty)
    if novelty.merge:
        index = torch.arange(valid.shape[1], device=valid.device)
        changed = choice.merges[:, None] & (index == choice.into[:, None])
        mixed = torch.lerp(tokens, pick(tokens, choice.gone[:, None]), novelty.merge)
        tokens = torch.where(changed[..., None], unit_rms(mixed), tokens)
    return State(pick(tokens, choice.stay), valid.gather(1, choice.stay))


class Choice(NamedTuple):
    """Which entries stay, in their order, and which one goes; which it resembles most, and whether it is merged into that."""

    stay: Int[Tensor, "p e"]
    gone: Int[Tensor, " p"]
    into: Int[Tensor, " p"]
    merges: Bool[Tensor, " p"]


@torch.no_grad()
def choose(entries: State, novelty: Novelty) -> Choice:
    """Which of the entries (p, e + 1, d), the new one last, has to go."""
    last = entries.valid.shape[1] - 1
    alike = _cosines(entries)
    nearest, of_new = alike[:, last].max(dim=1)
    counts, stored = entries.valid[:, last], entries.valid[:, :last].sum(dim=1)
    resembles = (nearest >= novelty.threshold) & (stored >= novelty.floor)
    takes_place = counts & ~resembles & (stored < last)
    unwritten = entries.valid.long().argmin(dim=1)  # in front, but where something was forgotten
    pair = alike.flatten(1).argmax(dim=1)
    newer, older = pair // (last + 1), pair % (last + 1)
    gone = torch.where(takes_place, unwritten, torch.where(~counts | resembles, last, newer))
    left = torch.arange(last, device=gone.device)
    stay = left + (left >= gone[:, None])
    return Choice(stay, gone, torch.where(resembles, of_new, older), counts & ~takes_place)


def pick(tokens: Float[Tensor, "p n d"], index: Int[Tensor, "p m"]) -> Float[Tensor, "p m d"]:
    """The tokens of each list at these places of it; row by row, where `gather` would go number by number."""
    rows = index + tokens.shape[1] * torch.arange(len(tokens), device=index.device)[:, None]
    picked: Tensor = tokens.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, index.shape)
    return picked


def _cosines(entries: State) -> Float[Tensor, "p n n"]:
    """How much every entry resembles each older one; -2 where there are no two."""
    with without_autocast(entries.tokens.device.type):  # a decision takes full precision
        unit = F.normalize(entries.tokens.float(), dim=-1)
        alike = unit @ unit.mT
    pairs = entries.valid[:, :, None] & entries.valid[:, None, :]
    return alike.masked_fill(~pairs.tril(-1), -2.0)
