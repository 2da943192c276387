"""The codec of `AutoencoderMalt`: its streaming encode and decode, on standardised latents."""

import torch
from jaxtyping import Float
from torch import Tensor

from malt.codecs.device import compute_device
from malt.codecs.normalization import LatentNormalization
from malt.models.autoencoder import AutoencoderMalt, Cache


class MaltCodec:
    """Standardises latents with the channel statistics that were measured when the autoencoder had been trained."""

    latent_group = 1

    def __init__(self, autoencoder: AutoencoderMalt) -> None:
        self.autoencoder = autoencoder
        config = autoencoder.config
        self.latent_channels: int = config.latent_channels
        self.time_compression = autoencoder.time_compression
        self.space_compression = autoencoder.space_compression
        self.standard = LatentNormalization.of(
            config.latent_mean or (0.0,) * config.latent_channels, config.latent_std or (1.0,) * config.latent_channels
        )

    @torch.no_grad()
    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], cache: Cache | None = None
    ) -> tuple[Float[Tensor, "b s c h w"], Cache]:
        """Standardised latents, and the encoder's cache."""
        latents, cache = self.autoencoder.encode(frames.to(compute_device(self.autoencoder)), cache)
        return self.standard.apply(latents), cache

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b s c h w"], cache: Cache | None = None
    ) -> tuple[Float[Tensor, "b t 3 H W"], Cache]:
        """Frames, and the decoder's cache."""
        latents = self.standard.undo(latents.to(compute_device(self.autoencoder)))
        frames, cache = self.autoencoder.decode(latents, cache)
        return frames.float(), cache

    def frames_of(self, num_latents: int, first: bool) -> int:
        """Four frames a latent frame, wherever."""
        return num_latents * self.time_compression
