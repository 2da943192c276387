"""Mochi's video autoencoder as a codec: its decoder is streamed exactly, its encoder attends to all frames before.

The library's causal convolutions keep no cache where they repeat the first moment and the border, as Mochi's do, so that its
decoder takes whole videos only. Given a class that keeps one, and nothing else, they make the same of a whole video, and the
decoder hands their caches on from piece to piece as its arguments and results.
"""

import json
from functools import cache, cached_property

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLMochi
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.codecs.latent_history import Entries, LatentHistory, finite_reach
from malt.codecs.nested_cache import flat, nested
from malt.codecs.normalization import LatentNormalization
from malt.codecs.overlap import OverlapCodec


class StreamedCausalConv3d(CogVideoXCausalConv3d):
    """What such a convolution makes of a video of which it is shown one piece after another."""

    def forward(self, inputs: Tensor, conv_cache: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The piece (b, c, t, h, w) behind the moments that the call before handed back."""
        before = inputs[:, :, :1].expand(-1, -1, self.time_pad, -1, -1) if conv_cache is None else conv_cache
        seen = torch.cat([before, inputs], dim=2)
        rows, columns = self.height_pad, self.width_pad
        padded = F.pad(seen, (columns, columns, rows, rows, 0, 0), mode="replicate")
        return self.conv(padded), seen[:, :, -self.time_pad :].clone()


class MochiCodec(OverlapCodec):
    """diffusers' `AutoencoderKLMochi`: the first latent frame is one frame, every later one six.

    Decoded a latent frame at a time. Frames are encoded behind an overlap.
    """

    def __init__(self, autoencoder: AutoencoderKLMochi) -> None:
        super().__init__(autoencoder)
        for module in autoencoder.decoder.modules():
            if isinstance(module, CogVideoXCausalConv3d):
                module.__class__ = StreamedCausalConv3d

    @property
    def standard(self) -> LatentNormalization:
        """By the statistics of its settings."""
        config = self.autoencoder.config
        return LatentNormalization.of(config.latents_mean, [std / config.scaling_factor for std in config.latents_std])

    @cached_property
    def reach(self) -> int:
        """How many of the last latents decide what the decoder carries."""
        settings = {name: value for name, value in self.autoencoder.config.items() if not name.startswith("_")}
        return _reach(json.dumps(settings, sort_keys=True))

    def encode_whole(self, frames: Float[Tensor, "b 3 t H W"]) -> Float[Tensor, "b _ s h w"]:
        """Mean and log variance side by side."""
        encoded: Tensor = self.autoencoder.encoder(frames)[0]
        return encoded

    @torch.no_grad()
    def decode(  # type: ignore[override]
        self, latents: Float[Tensor, "b s c h w"], cache: LatentHistory | None = None
    ) -> tuple[Float[Tensor, "b t 3 H W"], LatentHistory]:
        """Frames: 1 + 6 (s - 1) where a video begins, 6 s later."""
        behind = None
        if cache is not None:
            behind = cache.entries or self._decode(cache.latents, None)[1]
        frames, entries = self._decode(latents, behind)
        return frames[:, -self.frames_of(latents.shape[1], cache is None) :], LatentHistory.after(
            cache, latents, entries, self.reach
        )

    def _decode(self, latents: Tensor, behind: Entries | None) -> tuple[Tensor, Entries]:
        carried = None if behind is None else nested(behind)
        decoded = []
        for moment in self._to_autoencoder(self.standard.undo(latents)).split(1, dim=2):
            frames, carried = self.autoencoder.decoder(moment, conv_cache=carried)
            decoded.append(frames)
        frames = rearrange(torch.cat(decoded, dim=2), "b c t h w -> b t c h w").float().clamp(-1, 1)
        return frames, tuple(flat(carried or {}))


@cache
@torch.no_grad()
def _reach(config: str) -> int:
    """The reach of decoders of this config, measured on one as deep and as thin as can be."""
    settings = json.loads(config)
    thin = {"decoder_block_out_channels": [32] * len(settings["decoder_block_out_channels"]), "latent_channels": 1}
    thin |= {"encoder_block_out_channels": [32] * len(settings["encoder_block_out_channels"])}
    with torch.device("cpu"):  # also where a large one is only planned, on no device
        codec = MochiCodec(
            AutoencoderKLMochi.from_config(settings | thin | {"latents_mean": [0.0], "latents_std": [1.0]})
        )
        return finite_reach(lambda latents, behind: codec._decode(latents, behind)[1], torch.zeros(1, 1, 1, 2, 2))
