"""What a training step draws at random: for the whole batch, whoever computes it; a process keeps its own videos' share."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.wording import counted

RankAndSize = tuple[
    int, int
]  # (rank, world_size): of the videos of the batch, those numbered rank, rank + world_size, ...

WHOLE: RankAndSize = (0, 1)
FORK = 0x5E1F0BCE  # within the 32 bits of a seed that count on a CPU


def rows(rank_and_size: RankAndSize) -> slice:
    """Which videos of the whole batch are this part's."""
    return slice(rank_and_size[0], None, rank_and_size[1])


def check_shared(rank_and_size: RankAndSize, batch_size: int) -> None:
    """Refuse a share that is none, or that differs from the others'.

    Raises:
        ValueError: when the rank is not one of the world's.
        UsageError: when the batch cannot be shared equally.
    """
    rank, world_size = rank_and_size
    if not 0 <= rank < world_size:
        raise ValueError(f"there is no rank {rank} of {world_size}; ranks are 0 to {world_size - 1}")
    if batch_size % world_size:
        raise UsageError(
            f"a batch of {counted(batch_size, 'video')} cannot be shared equally by {world_size}; give a multiple "
            f"of {world_size} as batch_size"
        )


class Generators(NamedTuple):
    """The generator of a step, and that of its fork."""

    own: torch.Generator
    forked: torch.Generator

    @staticmethod
    def on(device: torch.device) -> "Generators":
        """New ones, which are to be seeded for every step."""
        return Generators(torch.Generator(device), torch.Generator(device))

    def begin(self, seed: int, step: int) -> "Generators":
        """The same generators at the beginning of a step of a run with this seed."""
        self.own.manual_seed(seed * 1_000_003 + step)
        self.forked.manual_seed((seed * 1_000_003 + step) ^ FORK)
        return self


class StepRandom:
    """Draws for `groups` x batch rows, (group, video), of which only the videos of `rank_and_size` are kept.

    So the mean of the losses of equal parts is the loss of the whole, and one process learns what many do.
    """

    def __init__(self, generators: Generators, batch_size: int, rank_and_size: RankAndSize = WHOLE) -> None:
        self.generators, self.generator = generators, generators.own
        self.batch_size, self.rank_and_size = batch_size, rank_and_size

    def fork(self) -> "StepRandom":
        """Another rng of the same step, so that what draws from it changes nothing of what is drawn here."""
        other = copy.copy(self)
        other.generator = self.generators.forked
        return other

    def uniform(self, groups: int = 1) -> Float[Tensor, " n"]:
        """Uniform in [0, 1), one a row."""
        return self._own(torch.rand(groups * self.batch_size, generator=self.generator, device=self.generator.device))

    def shared(self) -> Float[Tensor, ""]:
        """Uniform in [0, 1), one for all rows, whoever computes them."""
        return torch.rand((), generator=self.generator, device=self.generator.device)

    def normal(self, groups: int = 1, shape: Sequence[int] = ()) -> Float[Tensor, "n *shape"]:
        """Standard normal, of this shape for every row."""
        size = (groups * self.batch_size, *shape)
        return self._own(torch.randn(size, generator=self.generator, device=self.generator.device))

    def _own(self, drawn: Tensor) -> Tensor:
        own: Tensor = drawn.unflatten(0, (-1, self.batch_size))[:, rows(self.rank_and_size)]
        return own.flatten(0, 1)
