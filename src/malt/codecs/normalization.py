"""Standardised latents: of about zero mean and unit deviation in every channel, which is what a transformer learns."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LatentNormalization:
    """Mean and deviation of every channel of an autoencoder's own latents."""

    mean: Float[Tensor, "c 1 1"]
    std: Float[Tensor, "c 1 1"]

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> "LatentNormalization":
        """From one number a channel."""
        return cls(
            torch.tensor(mean, dtype=torch.float32)[:, None, None],
            torch.tensor(std, dtype=torch.float32)[:, None, None],
        )

    def apply(self, latents: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c h w"]:
        """The autoencoder's latents, standardised, in float32."""
        return (latents.float() - self.mean.to(latents.device)) / self.std.to(latents.device)

    def undo(self, latents: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b c h w"]:
        """The inverse of `apply`."""
        return latents * self.std.to(latents.device) + self.mean.to(latents.device)
