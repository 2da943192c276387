"""Codecs of autoencoders that look ahead, or back without end: pieces are decoded behind what came before, and blended.

Such a decoder cannot be streamed exactly, as the latents that it would look at are not made yet when frames are due. Each
piece is decoded together with the last latents before it; what the decoder makes of the last frame that was handed out,
now that it sees what follows, is compared with what was handed out, and the difference fades out over the first frames.
"""

from typing import Any

import torch
from diffusers import ModelMixin
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.codecs.base import causal_frames, check_frame_count, check_frame_size
from malt.codecs.device import compute_device
from malt.codecs.normalization import LatentNormalization

# Latents that are decoded, and that frames are encoded for, a second time before each piece.
OVERLAP = 8

EncoderCache = tuple[Float[Tensor, "b _ 3 H W"]]
DecoderCache = tuple[Float[Tensor, "b _ c h w"], Float[Tensor, "b 1 3 H W"]]  # the last latents, and the last frame


class OverlapCodec:
    """The first latent frame is one frame, every later one `time_compression`; a codec says how its library converts.

    Exact for the first piece; how far later ones are from decoding the whole depends on `overlap`.
    """

    latent_group = 1

    def __init__(self, autoencoder: ModelMixin, overlap: int = OVERLAP) -> None:
        self.autoencoder: Any = autoencoder
        self.overlap = overlap
        self.latent_channels: int = self.autoencoder.config.latent_channels
        self.time_compression = int(self.autoencoder.temporal_compression_ratio)
        self.space_compression = int(self.autoencoder.spatial_compression_ratio)

    @property
    def standard(self) -> LatentNormalization:
        """Mean and deviation of every channel of the library's latents."""
        raise NotImplementedError

    def encode_whole(self, frames: Float[Tensor, "b 3 t H W"]) -> Float[Tensor, "b _ s h w"]:
        """What the library's encoder makes of frames, mean and log variance side by side."""
        raise NotImplementedError

    def decode_whole(self, latents: Float[Tensor, "b c s h w"]) -> Float[Tensor, "b 3 t H W"]:
        """What the library's decoder makes of latents."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], cache: EncoderCache | None = None
    ) -> tuple[Float[Tensor, "b s c h w"], EncoderCache]:
        """Standardised latents of 1 + k `time_compression` frames where a video begins, of k times as many later.

        Raises:
            ValueError: for another number of frames, or when H or W is not a multiple of the compression in space.
        """
        check_frame_size(frames, self.space_compression)
        num_latents = check_frame_count(frames, self.time_compression, first=cache is None)
        seen = frames if cache is None else torch.cat([cache[0], frames], dim=1)
        mode = self.encode_whole(self._to_autoencoder(seen)).chunk(2, dim=1)[0]
        latents = rearrange(mode, "b c s h w -> b s c h w")[:, -num_latents:]
        return self.standard.apply(latents), (seen[:, -self.frames_of(self.overlap + 1, first=True) :],)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b s c h w"], cache: DecoderCache | None = None
    ) -> tuple[Float[Tensor, "b t 3 H W"], DecoderCache]:
        """Frames: 1 + `time_compression` (s - 1) where a video begins, `time_compression` s later."""
        seen = latents if cache is None else torch.cat([cache[0], latents], dim=1)
        decoded = self.decode_whole(self._to_autoencoder(self.standard.undo(seen)))
        frames = rearrange(decoded, "b c t h w -> b t c h w").float()
        if cache is not None:
            frames = self._blend(frames, latents.shape[1] * self.time_compression, cache[1])
        frames = frames.clamp(-1, 1)
        return frames, (seen[:, -self.overlap :], frames[:, -1:])

    def frames_of(self, num_latents: int, first: bool) -> int:
        """One frame for the first latent frame of a video, `time_compression` for every later one."""
        return causal_frames(num_latents, self.time_compression, first)

    def _blend(self, frames: Tensor, count: int, shown: Tensor) -> Tensor:
        """The last `count` frames, led over from the frame before them as it was shown."""
        before, after = frames[:, -count - 1 : -count], frames[:, -count:]
        group = self.time_compression
        weights = torch.linspace(1, 0, group + 1, device=frames.device)[:-1].view(1, group, 1, 1, 1)
        led = after[:, :group] + weights * (shown.to(frames.device) - before)
        return torch.cat([led, after[:, group:]], dim=1)

    def _to_autoencoder(self, tensor: Tensor) -> Tensor:
        tensor = rearrange(tensor, "b t c h w -> b c t h w")
        return tensor.to(compute_device(self.autoencoder), self.autoencoder.dtype)
