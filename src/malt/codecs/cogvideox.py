"""CogVideoX's causal video autoencoder as a codec, streamed exactly in the library's own batches of two latent frames."""

import json
from collections.abc import Callable, Mapping
from functools import cache, cached_property

import torch
from diffusers import AutoencoderKLCogVideoX
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.codecs.base import check_frame_size
from malt.codecs.device import compute_device
from malt.codecs.latent_history import Entries, LatentHistory, finite_reach
from malt.codecs.nested_cache import flat, nested
from malt.codecs.normalization import LatentNormalization

PAIR = 2  # latent frames that the library converts at once, as its group norms see both
UNREAD = frozenset({"conv_y", "conv_b"})  # kernels of one moment, for which the library keeps what nobody reads


class CogVideoXCodec:
    """diffusers' `AutoencoderKLCogVideoX`: latents come in pairs, and where a video begins there may be one more.

    An odd first piece of s latents is 1 + 4 (s - 1) frames, as of an image or in the released models; an even one is 4 s
    frames. Later pieces are even. Without chance, and without the library's tiles.
    """

    latent_group = PAIR

    def __init__(self, autoencoder: AutoencoderKLCogVideoX) -> None:
        self.autoencoder = autoencoder
        config = autoencoder.config
        self.latent_channels: int = config.latent_channels
        self.time_compression = int(config.temporal_compression_ratio)
        self.space_compression = 2 ** (len(config.block_out_channels) - 1)
        channels = self.latent_channels
        self.standard = LatentNormalization.of((0.0,) * channels, (1 / config.scaling_factor,) * channels)

    @cached_property
    def reach(self) -> int:
        """How many of the last latents decide what the decoder carries."""
        settings = {name: value for name, value in self.autoencoder.config.items() if not name.startswith("_")}
        return _reach(json.dumps(settings, sort_keys=True))

    @torch.no_grad()
    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], cache: Entries | None = None
    ) -> tuple[Float[Tensor, "b s c h w"], Entries]:
        """Standardised latents of 8 k frames, or of 1 + 8 k where a video begins.

        Raises:
            ValueError: for another number of frames, or when H or W is not a multiple of the compression in space.
        """
        check_frame_size(frames, self.space_compression)
        count, group = frames.shape[1], PAIR * self.time_compression
        if count < 1 or count % group > (cache is None):
            fitting = f"{group} k or 1 + {group} k" if cache is None else f"{group} k"
            which = "the first" if cache is None else "later"
            raise ValueError(f"got {count} frames; {which} ones are to be {fitting} at a time")
        model = self.autoencoder
        moments, entries = _in_batches(self._to_autoencoder(frames), group, model.encoder, cache)
        if model.quant_conv is not None:
            moments = model.quant_conv(moments)
        return self.standard.apply(rearrange(moments.chunk(2, dim=1)[0], "b c s h w -> b s c h w")), entries

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b s c h w"], cache: LatentHistory | None = None
    ) -> tuple[Float[Tensor, "b t 3 H W"], LatentHistory]:
        """Frames: 4 s, but 1 + 4 (s - 1) of an odd s where a video begins.

        Raises:
            ValueError: for an odd number of latents where a video does not begin.
        """
        if cache is not None and latents.shape[1] % PAIR:
            raise ValueError(
                f"got {latents.shape[1]} latent frames; CogVideoX's autoencoder decodes pairs, so let segments have an even "
                "number of them"
            )
        behind = None if cache is None else cache.entries
        if cache is not None and behind is None:
            for piece in cache.pieces():
                _, behind = self._decode(piece, behind)
        frames, entries = self._decode(latents, behind)
        return frames, LatentHistory.after(cache, latents, entries, self.reach)

    def frames_of(self, num_latents: int, first: bool) -> int:
        """Four frames a latent frame; one for the first of a video that begins with an odd number."""
        group = self.time_compression
        return num_latents * group - (group - 1) * (first and num_latents % PAIR)

    def _decode(self, latents: Tensor, behind: Entries | None) -> tuple[Tensor, Entries]:
        model, moments = self.autoencoder, self._to_autoencoder(self.standard.undo(latents))
        if model.post_quant_conv is not None:
            moments = model.post_quant_conv(moments)
        frames, entries = _in_batches(moments, PAIR, model.decoder, behind)
        return rearrange(frames, "b c t h w -> b t c h w").float().clamp(-1, 1), entries

    def _to_autoencoder(self, tensor: Tensor) -> Tensor:
        tensor = rearrange(tensor, "b t c h w -> b c t h w")
        return tensor.to(compute_device(self.autoencoder), self.autoencoder.dtype)


def _in_batches(
    inputs: Tensor, size: int, network: Callable[..., tuple[Tensor, Mapping[str, object]]], behind: Entries | None
) -> tuple[Tensor, Entries]:
    """What an encoder or decoder makes of (b, c, t, h, w), `size` moments at a time and one more in the first."""
    carried: Mapping[str, object] | None = None if behind is None else nested(behind)
    head = min(size + inputs.shape[2] % size, inputs.shape[2])
    batches = [inputs[:, :, :head], *inputs[:, :, head:].split(size, dim=2)]
    outputs = []
    for batch in (batch for batch in batches if batch.shape[2]):
        output, carried = network(batch, conv_cache=carried)
        outputs.append(output)
    return torch.cat(outputs, dim=2), tuple(flat(carried or {}, UNREAD))


@cache
@torch.no_grad()
def _reach(config: str) -> int:
    """The reach of decoders of this config, measured on one as deep and as thin as can be."""
    settings = json.loads(config)
    thin = {"block_out_channels": [2] * len(settings["block_out_channels"]), "norm_num_groups": 1, "latent_channels": 1}
    with torch.device("cpu"):  # also where a large one is only planned, on no device
        codec = CogVideoXCodec(AutoencoderKLCogVideoX.from_config(settings | thin))
        return finite_reach(lambda latents, behind: codec._decode(latents, behind)[1], torch.zeros(1, PAIR, 1, 1, 1))
