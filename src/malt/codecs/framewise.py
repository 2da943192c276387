"""Image autoencoders as codecs: every frame for itself, so there is nothing to carry from one segment to the next."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from jaxtyping import Float
from torch import Tensor

from malt.codecs.base import check_frame_size
from malt.codecs.device import compute_device
from malt.codecs.normalization import LatentNormalization


class FrameCodec:
    """diffusers' `AutoencoderKL` (by the mode of its posterior, without chance) and `AutoencoderTiny`.

    Latents are standardised as diffusers' pipelines do it: (z - shift_factor) scaling_factor, or by the config's
    `latents_mean` and `latents_std` where it has them.
    """

    time_compression = 1
    latent_group = 1

    def __init__(self, autoencoder: AutoencoderKL | AutoencoderTiny) -> None:
        self.autoencoder = autoencoder
        config = autoencoder.config
        self.latent_channels: int = config.latent_channels
        # `AutoencoderTiny` registers its decoder's channels under this name.
        self.space_compression = 2 ** (len(config.block_out_channels) - 1)
        shift, scale = config.shift_factor or 0.0, config.scaling_factor
        mean = getattr(config, "latents_mean", None) or (shift,) * self.latent_channels
        std = getattr(config, "latents_std", None) or (1.0,) * self.latent_channels
        self.standard = LatentNormalization.of(mean, [deviation / scale for deviation in std])

    @torch.no_grad()
    def encode(self, frames: Float[Tensor, "b t 3 H W"], cache: None = None) -> tuple[Float[Tensor, "b t c h w"], None]:
        """Standardised latents, one latent frame a frame; the cache is always None.

        Raises:
            ValueError: when H or W is not a multiple of the compression in space.
        """
        check_frame_size(frames, self.space_compression)
        return self.standard.apply(_one_by_one(self._encode, self._to_autoencoder(frames))), None

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b s c h w"], cache: None = None
    ) -> tuple[Float[Tensor, "b s 3 H W"], None]:
        """Frames, one a latent frame; the cache is always None."""
        frames = _one_by_one(self._decode, self._to_autoencoder(self.standard.undo(latents)))
        return frames.float(), None

    def frames_of(self, num_latents: int, first: bool) -> int:
        """One frame a latent frame, wherever."""
        return num_latents

    def _to_autoencoder(self, tensor: Tensor) -> Tensor:
        return tensor.to(compute_device(self.autoencoder), self.autoencoder.dtype)

    def _encode(self, frame: Tensor) -> Tensor:
        encoded = self.autoencoder.encode(frame)
        latents: Tensor = (
            encoded.latents if isinstance(self.autoencoder, AutoencoderTiny) else encoded.latent_dist.mode()
        )
        return latents

    def _decode(self, latents: Tensor) -> Tensor:
        frames: Tensor = self.autoencoder.decode(latents).sample
        return frames


def _one_by_one(convert: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Convert (b, t, ...) moment by moment: memory does not grow with t, and the result does not depend on it."""
    return torch.stack([convert(frame) for frame in frames.unbind(dim=1)], dim=1)
