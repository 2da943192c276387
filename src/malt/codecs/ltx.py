"""The video autoencoders of LTX-Video and LTX-2 as codecs: eight frames a latent frame, and a decoder that looks ahead."""

from functools import cached_property
from threading import Lock

import torch
from diffusers import AutoencoderKLLTX2Video, AutoencoderKLLTXVideo
from torch import Tensor

from malt.codecs.device import compute_device
from malt.codecs.normalization import LatentNormalization
from malt.codecs.overlap import OverlapCodec

NOISE_SEED = 0  # of the noise that some decoders add to every frame alike
NOISE_LOCK = Lock()  # the library draws that noise from torch's own generator


class LTXCodec(OverlapCodec):
    """diffusers' `AutoencoderKLLTXVideo` and `AutoencoderKLLTX2Video`.

    Decoders that clean latents of noise are told that there is none; those that add noise always add the same.
    """

    def __init__(self, autoencoder: AutoencoderKLLTXVideo | AutoencoderKLLTX2Video) -> None:
        super().__init__(autoencoder)
        self.denoises = bool(autoencoder.config.timestep_conditioning)
        noisy = autoencoder.config.decoder_inject_noise
        self.noisy = any(noisy) if isinstance(noisy, list | tuple) else bool(noisy)

    @cached_property
    def standard(self) -> LatentNormalization:
        """By the statistics that lie with the weights."""
        compute_device(self.autoencoder)  # wakes an offloaded one
        mean, std = (
            values.float().cpu()[:, None, None]
            for values in (self.autoencoder.latents_mean, self.autoencoder.latents_std)
        )
        return LatentNormalization(mean, std / self.autoencoder.config.scaling_factor)

    def encode_whole(self, frames: Tensor) -> Tensor:
        """(b, 3, t, H, W) -> (b, 2 c, s, h, w)."""
        encoded: Tensor = self.autoencoder.encoder(frames)
        return encoded

    def decode_whole(self, latents: Tensor) -> Tensor:
        """(b, c, s, h, w) -> (b, 3, t, H, W)."""
        if not self.noisy:
            return self._decode(latents)
        devices = [latents.device] if latents.device.type == "cuda" else []
        with NOISE_LOCK, torch.random.fork_rng(devices):
            torch.manual_seed(NOISE_SEED)
            return self._decode(latents)

    def _decode(self, latents: Tensor) -> Tensor:
        level = latents.new_zeros(len(latents)) if self.denoises else None
        decoded: Tensor = self.autoencoder.decoder(latents, level)
        return decoded
