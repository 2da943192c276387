"""What a family's `call` asks of the conditions it is given."""

import torch
from torch import Tensor

from malt.adapters.family import BaseConditions
from malt.errors import UsageError


def needed(family: str, conditions: BaseConditions, name: str) -> Tensor:
    """An added condition without which a base of this family cannot compute.

    Raises:
        UsageError: where it was not given.
    """
    if name not in conditions.added:
        raise UsageError(f"a base of the family {family} needs {name}; give it among the added conditions")
    return conditions.added[name]


def with_known(latents: Tensor, conditions: BaseConditions, channels: int) -> Tensor:
    """Latents (b, s, c, h, w) with those that are known behind them; where none are, zeros up to so many channels."""
    known = conditions.added.get("known_latents")
    if known is None:
        known = latents.new_zeros(*latents.shape[:2], channels - latents.shape[2], *latents.shape[3:])
    return torch.cat([latents, known.to(latents)], dim=2)
