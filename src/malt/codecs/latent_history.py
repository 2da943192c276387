"""The cache of a decoder whose memory is finite: beside what it carries, the latents that this can be made from again.

What a causal decoder carries from piece to piece can be a thousand times larger than the latents it is a function of. So a
snapshot keeps the latents alone, and the first decode behind it makes the rest anew, bit for bit.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# What a decoder carries, flat: tensors, and words that say what they are or stand for one.
Entries = tuple[Tensor | str | None, ...]

# Latents at the beginning of a decode that a decoder treats in a way of its own.
SPECIAL = 2


class LatentHistory(NamedTuple):
    """A decoder's cache.

    latents: the last ones, as many as the decoder reaches back. first: how many of them were the first piece of the video,
    0 where the video began before them. entries: what the decoder carries behind them; None where it is to be made again.
    """

    latents: Float[Tensor, "b s c h w"]
    first: int
    entries: Entries | None

    @classmethod
    def after(
        cls, before: "LatentHistory | None", latents: Float[Tensor, "b s c h w"], entries: Entries, reach: int
    ) -> "LatentHistory":
        """The cache behind `latents` that followed `before`."""
        seen, first = latents, latents.shape[1]
        if before is not None:
            seen, first = torch.cat([before.latents, latents], dim=1), before.first
        return cls(seen[:, -reach:], first if seen.shape[1] <= reach else 0, entries)

    def at_rest(self) -> "LatentHistory":
        """The same without what can be made again."""
        return self._replace(entries=None)

    def pieces(self) -> list[Float[Tensor, "b s c h w"]]:
        """The latents as they are to be decoded again: the first piece by itself where it is there."""
        head = self.first or self.latents.shape[1]
        return [piece for piece in self.latents.tensor_split([head], dim=1) if piece.shape[1]]


def finite_reach(decode: Callable[[Tensor, Entries | None], Entries], piece: Float[Tensor, "1 s c h w"]) -> int:
    """How many of the last latents decide, bit for bit, what a decoder carries.

    A latent that is no number is decoded once the beginning is over; what depends on it is no number either, whatever the
    weights. When all that is carried is numbers again, nothing of that latent is left.

    Args:
        decode: decodes a piece behind some entries and gives the entries after it.
        piece: the smallest piece of latents that is decoded at once.
    """
    entries, count = None, piece.shape[1]
    for _ in range(-(-SPECIAL // count)):
        entries = decode(piece, entries)
    entries, reach = decode(torch.full_like(piece, torch.nan), entries), 0
    while not all(entry.isfinite().all() for entry in entries if isinstance(entry, Tensor)):
        entries, reach = decode(piece, entries), reach + count
    return reach + -(-SPECIAL // count) * count
