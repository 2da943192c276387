"""The video autoencoders of HunyuanVideo and HunyuanVideo 1.5 as codecs: what they look back at has no end.

The first normalises over all frames that it is given, so that each latent changes every frame; the second attends to all
frames before.
"""

import torch
from diffusers import AutoencoderKLHunyuanVideo, AutoencoderKLHunyuanVideo15
from torch import Tensor, nn

from malt.codecs.normalization import LatentNormalization
from malt.codecs.overlap import OverlapCodec


class HunyuanCodec(OverlapCodec):
    """diffusers' `AutoencoderKLHunyuanVideo` and `AutoencoderKLHunyuanVideo15`, without the library's tiles.

    Videos are converted one by one, as the attention of the second takes no batch.
    """

    def __init__(self, autoencoder: AutoencoderKLHunyuanVideo | AutoencoderKLHunyuanVideo15) -> None:
        super().__init__(autoencoder)
        # The second version has neither.
        self.after_encoder = getattr(autoencoder, "quant_conv", nn.Identity())
        self.before_decoder = getattr(autoencoder, "post_quant_conv", nn.Identity())

    @property
    def standard(self) -> LatentNormalization:
        """By one factor for all channels."""
        channels, deviation = self.latent_channels, 1 / self.autoencoder.config.scaling_factor
        return LatentNormalization.of((0.0,) * channels, (deviation,) * channels)

    def encode_whole(self, frames: Tensor) -> Tensor:
        """(b, 3, t, H, W) -> (b, 2 c, s, h, w)."""
        encoded = [self.after_encoder(self.autoencoder.encoder(video)) for video in frames.split(1)]
        return torch.cat(encoded)

    def decode_whole(self, latents: Tensor) -> Tensor:
        """(b, c, s, h, w) -> (b, 3, t, H, W)."""
        decoded = [self.autoencoder.decoder(self.before_decoder(video)) for video in latents.split(1)]
        return torch.cat(decoded)
