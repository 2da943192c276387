"""Where noise comes from: every video of a batch draws its own, and so is the video that it would be alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.wording import counted

Seed = int | tuple[int, ...]  # one for each video of a batch, or one from which those of all its videos follow


@dataclass(frozen=True)
class VideoGenerators:
    """A generator for each video of a batch, and what they draw: latent frames (c, h, w), always on the CPU.

    So noise is the same on every device; `device` is where it is brought to.
    """

    generators: tuple[torch.Generator, ...]
    size: tuple[int, int, int]
    device: torch.device

    @classmethod
    def of(
        cls, seed: Seed, batch: int, index: int, size: tuple[int, int, int], device: torch.device
    ) -> "VideoGenerators":
        """The source of all noise that is drawn for segment `index` of the videos of a batch.

        Raises:
            UsageError: there are not as many seeds as videos.
        """
        seeds = video_seeds(seed, batch)
        return cls(tuple(torch.Generator().manual_seed(each + index) for each in seeds), size, device)

    def draw(self, num_latents: int) -> Float[Tensor, "b s c h w"]:
        """So many latent frames of noise for each video, drawn anew at every call."""
        shape = (num_latents, *self.size)
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators]).to(self.device)


def video_seeds(seed: Seed, batch: int) -> tuple[int, ...]:
    """The seed of each video; where there is one for all, it is that of the first, and the others are drawn from it.

    Raises:
        UsageError: there are not as many seeds as videos.
    """
    if isinstance(seed, int):
        generator = torch.Generator().manual_seed(seed)
        return (seed, *(draw_seed(generator) for _ in range(batch - 1)))
    if len(seed) != batch:
        raise UsageError(f"got {counted(len(seed), 'seed')} for {counted(batch, 'video')}; give one for each")
    return seed


def seeds_from(generator: torch.Generator | Sequence[torch.Generator] | None, batch: int) -> tuple[int, ...]:
    """A seed for each video: from its own generator, or one after the other from one for all, None for torch's own.

    Raises:
        UsageError: there are not as many generators as videos.
    """
    generators = [generator] * batch if generator is None or isinstance(generator, torch.Generator) else [*generator]
    if len(generators) != batch:
        raise UsageError(
            f"got {counted(len(generators), 'generator')} for {counted(batch, 'video')}; give one, or one for each"
        )
    return tuple(draw_seed(each) for each in generators)


def draw_seed(generator: torch.Generator | None) -> int:
    """A seed from a generator, None for torch's own."""
    device = None if generator is None else generator.device
    return int(torch.randint(2**62, (), generator=generator, device=device).item())
