"""Wan's causal video autoencoder as a codec, streamed exactly: its cache is a value, none of it stays in the module.

`AutoencoderKLWan.encode` and `.decode` take whole videos and clear the cache that they keep in the module. Its encoder
and decoder, though, take a cache of anyone's: a list of what every causal convolution saw last, whose entries are
replaced, never written into. So a copy of the list is all it takes to leave an earlier cache as it was.
"""

import json
from functools import cache, cached_property

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, patchify, unpatchify
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.codecs.base import causal_frames, check_frame_count, check_frame_size
from malt.codecs.device import compute_device
from malt.codecs.latent_history import Entries, LatentHistory, finite_reach
from malt.codecs.normalization import LatentNormalization


class WanCodec:
    """diffusers' `AutoencoderKLWan`, of Wan 2.1 and 2.2: the first latent frame is one frame, every later one four.

    Without chance (the mode of the posterior) and without the library's tiles, whose caches are not one value.
    """

    latent_group = 1

    def __init__(self, autoencoder: AutoencoderKLWan) -> None:
        self.autoencoder = autoencoder
        config = autoencoder.config
        self.latent_channels: int = config.z_dim
        self.patch = config.patch_size or 1
        self.time_compression: int = 2 ** sum(config.temperal_downsample)
        self.space_compression = 2 ** (len(config.dim_mult) - 1) * self.patch
        self.standard = LatentNormalization.of(config.latents_mean, config.latents_std)

    @cached_property
    def reach(self) -> int:
        """How many of the last latents decide what the decoder carries: 40 for the released ones."""
        settings = {name: value for name, value in self.autoencoder.config.items() if not name.startswith("_")}
        return _reach(json.dumps(settings, sort_keys=True))

    @torch.no_grad()
    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], cache: Entries | None = None
    ) -> tuple[Float[Tensor, "b s c h w"], Entries]:
        """Standardised latents of 1 + 4 k frames where a video begins, of 4 k frames later.

        Raises:
            ValueError: for another number of frames, or when H or W is not a multiple of the compression in space.
        """
        check_frame_size(frames, self.space_compression)
        model, kept = self.autoencoder, _open(cache, self.autoencoder.encoder)
        num_latents = check_frame_count(frames, self.time_compression, first=cache is None)
        steps = [self.frames_of(1, first=index == 0 and cache is None) for index in range(num_latents)]
        chunks = patchify(self._to_autoencoder(frames), self.patch).split(steps, dim=2)
        encoded = [model.quant_conv(model.encoder(chunk, feat_cache=kept, feat_idx=[0])) for chunk in chunks]
        mode = torch.cat(encoded, dim=2).chunk(2, dim=1)[0]
        return self.standard.apply(rearrange(mode, "b c s h w -> b s c h w")), tuple(kept)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b s c h w"], cache: LatentHistory | None = None
    ) -> tuple[Float[Tensor, "b t 3 H W"], LatentHistory]:
        """Frames: 1 + 4 (s - 1) where a video begins, 4 s later."""
        behind = None
        if cache is not None:
            behind = cache.entries or self._decode(cache.latents, None)[1]
        frames, entries = self._decode(latents, behind)
        return frames, LatentHistory.after(cache, latents, entries, self.reach)

    def frames_of(self, num_latents: int, first: bool) -> int:
        """One frame for the first latent frame of a video, four for every later one."""
        return causal_frames(num_latents, self.time_compression, first)

    def _decode(self, latents: Tensor, behind: Entries | None) -> tuple[Tensor, Entries]:
        model, kept = self.autoencoder, _open(behind, self.autoencoder.decoder)
        moments = self._to_autoencoder(self.standard.undo(latents)).split(1, dim=2)
        decoded = [
            model.decoder(
                model.post_quant_conv(moment), feat_cache=kept, feat_idx=[0], first_chunk=behind is None and index == 0
            )
            for index, moment in enumerate(moments)
        ]
        frames = unpatchify(torch.cat(decoded, dim=2), self.patch).clamp(-1, 1)
        return rearrange(frames, "b c t h w -> b t c h w").float(), tuple(kept)

    def _to_autoencoder(self, tensor: Tensor) -> Tensor:
        tensor = rearrange(tensor, "b t c h w -> b c t h w")
        return tensor.to(compute_device(self.autoencoder), self.autoencoder.dtype)


def _open(cache: Entries | None, network: nn.Module) -> list[Tensor | str | None]:
    """The cache as the list of our own that the library fills."""
    if cache is not None:
        return list(cache)
    return [None] * sum(isinstance(module, WanCausalConv3d) for module in network.modules())


@cache
@torch.no_grad()
def _reach(config: str) -> int:
    """The reach of decoders of this config, measured on one as deep and as thin as can be."""
    thin = {"base_dim": 2, "decoder_base_dim": None, "z_dim": 1, "latents_mean": [0.0], "latents_std": [1.0]}
    with torch.device("cpu"):  # also where a large one is only planned, on no device
        codec = WanCodec(AutoencoderKLWan.from_config(json.loads(config) | thin))
        return finite_reach(lambda latents, behind: codec._decode(latents, behind)[1], torch.zeros(1, 1, 1, 1, 1))
