"""A causal video autoencoder that streams: 4x in time, 8x in space, no quantisation.

Four frames fold into one latent frame before the first convolution, and every 3-D convolution after it sees its own
latent frame and the one before (causal, as in MAGVIT-v2, arXiv:2310.05737). So what must be carried from one segment to
the next is one latent frame a convolution: the cache, a value that is handed in and handed back.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, FrozenDict, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Cache = tuple[Tensor, ...]


class Streaming(Protocol):
    """A layer that goes on behind what it saw last."""

    def stream(self, x: Tensor, past: Iterator[Tensor] | None, kept: list[Tensor]) -> Tensor:
        """Its output; takes its own entries of the cache from `past` and appends the new ones to `kept`."""
        ...


class CausalConv3d(nn.Module):
    """A convolution over (time, height, width) that sees the present and `kernel_time - 1` latent frames before it.

    Its weight is kept as a matrix, (out, taps x in): the order that the CPU's kernels like best, and what Muon takes.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_time: int = 2, kernel_space: int = 3, zero: bool = False
    ) -> None:
        super().__init__()
        self.kernel = (kernel_time, kernel_space, kernel_space)
        fan_in = in_channels * kernel_time * kernel_space**2
        self.weight = nn.Parameter(torch.randn(out_channels, fan_in) * (0.0 if zero else fan_in**-0.5))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def stream(self, x: Float[Tensor, "b c s h w"], past: Iterator[Tensor] | None, kept: list[Tensor]) -> Tensor:
        """Convolve `x` behind the next cache entry (before the first segment: its first frame, repeated)."""
        before = self.kernel[0] - 1
        if before:
            head = next(past) if past is not None else x[:, :, :1].expand(-1, -1, before, -1, -1)
            x = torch.cat([_channels_last(head.to(x.dtype)), x], dim=2)
            kept.append(x[:, :, -before:].contiguous())
        convolved: Tensor = self(x)
        return convolved

    def forward(self, x: Float[Tensor, "b c s h w"]) -> Tensor:
        """Convolve what is there, padded in space alone; a call, so that offloaded weights are brought for it.

        A processor's kernels for two dimensions are twice as fast as those for three: each moment is convolved by itself.
        """
        time, space, _ = self.kernel
        kernel = rearrange(self.weight, "o (t p q i) -> t o i p q", t=time, p=space, q=space)
        if x.device.type != "cpu":
            kernel = rearrange(kernel, "t o i p q -> o i t p q")
            return F.conv3d(x.contiguous(), kernel, self.bias, padding=(0, space // 2, space // 2))
        frames, count = _channels_last(x).transpose(1, 2), x.shape[2] - time + 1
        moments = [
            F.conv2d(frames[:, n : n + count].flatten(0, 1), kernel[n], None if n else self.bias, padding=space // 2)
            for n in range(time)
        ]
        return rearrange(sum(moments[1:], start=moments[0]), "(b s) o h w -> b o s h w", b=len(x))


class ChannelNorm(nn.Module):
    """RMS norm over the channels of each position: it mixes no two moments, so it cannot break causality."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1, 1))

    def forward(self, x: Float[Tensor, "b c s h w"]) -> Float[Tensor, "b c s h w"]:
        """Scale every position to unit mean square over its channels."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6) * self.weight


class ResidualBlock(nn.Module):
    """norm, silu, causal 3-D convolution, norm, silu, convolution in space; the second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = CausalConv3d(channels, channels)
        self.conv2 = CausalConv3d(channels, channels, kernel_time=1, zero=True)

    def stream(self, x: Tensor, past: Iterator[Tensor] | None, kept: list[Tensor]) -> Tensor:
        """One residual step on (b, c, s, h, w)."""
        hidden = self.conv1.stream(F.silu(self.norm1(x), inplace=True), past, kept)
        return x + self.conv2.stream(F.silu(self.norm2(hidden), inplace=True), past, kept)


class Fold(nn.Module):
    """Fold blocks of `time` x `space` x `space` into channels, then mix them with a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int) -> None:
        super().__init__()
        self.time, self.space = time, space
        self.mix = CausalConv3d(in_channels * time * space**2, out_channels, kernel_time=1, kernel_space=1)

    def stream(self, x: Tensor, past: Iterator[Tensor] | None, kept: list[Tensor]) -> Tensor:
        """(b, c, s t, h p, w p) -> (b, d, s, h, w)."""
        sizes = {"t": self.time, "p": self.space, "q": self.space}
        x = rearrange(x, "b c (s t) (h p) (w q) -> b s h w (t p q c)", **sizes).movedim(-1, 1)
        return self.mix.stream(x, past, kept)


class Unfold(nn.Module):
    """The inverse of `Fold`: mix with a convolution, then unfold channels into time and space."""

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int, kernel: int = 1) -> None:
        super().__init__()
        self.time, self.space = time, space
        self.mix = CausalConv3d(in_channels, out_channels * time * space**2, kernel_time=1, kernel_space=kernel)

    def stream(self, x: Tensor, past: Iterator[Tensor] | None, kept: list[Tensor]) -> Tensor:
        """(b, d, s, h, w) -> (b, c, s t, h p, w p)."""
        mixed, sizes = self.mix.stream(x, past, kept), {"t": self.time, "p": self.space, "q": self.space}
        return rearrange(mixed, "b (t p q c) s h w -> b (s t) (h p) (w q) c", **sizes).movedim(-1, 1)


class AutoencoderMalt(ModelMixin, ConfigMixin):
    """Frames (b, t, 3, H, W) in [-1, 1] to latents (b, t / 4, c, H / 8, W / 8) and back, streamed or whole.

    Latents are bounded, |z| <= `latent_bound`, by tanh. `latent_mean` and `latent_std` (one number a channel, measured
    at the end of training) are for those who want them standardised; `encode` returns them as they are.
    """

    time_compression = 4
    space_compression = 8

    @register_to_config
    def __init__(
        self,
        *,
        latent_channels: int = 16,
        channels: Sequence[int] = (24, 96, 112),
        encoder_blocks: Sequence[int] = (1, 1),
        decoder_blocks: Sequence[int] = (1, 2),
        latent_bound: float = 3.0,
        frame_size: Sequence[int] = (64, 64),
        frame_rate: float = 16.0,
        latent_mean: Sequence[float] | None = None,
        latent_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        finest, fine, coarse = channels
        self.encoder = nn.ModuleList(
            [Fold(3, fine, time=4, space=4)]
            + [ResidualBlock(fine) for _ in range(encoder_blocks[0])]
            + [Fold(fine, coarse, time=1, space=2)]
            + [ResidualBlock(coarse) for _ in range(encoder_blocks[1])]
        )
        self.norm_latents = ChannelNorm(coarse)
        self.to_latents = CausalConv3d(coarse, latent_channels, kernel_time=1, kernel_space=1)
        self.from_latents = CausalConv3d(latent_channels, coarse)
        self.decoder = nn.ModuleList(
            [ResidualBlock(coarse) for _ in range(decoder_blocks[1])]
            + [Unfold(coarse, fine, time=1, space=2)]
            + [ResidualBlock(fine) for _ in range(decoder_blocks[0])]
        )
        self.norm_out = ChannelNorm(fine)
        self.to_pixels = Unfold(fine, finest, time=4, space=2, kernel=3)
        self.to_frames = Unfold(finest, 3, time=1, space=2, kernel=3)
        self.latent_bound = latent_bound

    @property
    def config(self) -> FrozenDict:
        """The settings, and under their names in diffusers the two that are always the same: its pipelines ask for them."""
        constants = {
            "scale_factor_temporal": self.time_compression,
            "scale_factor_spatial": self.space_compression,
        }
        return FrozenDict({**self._internal_dict, **constants})

    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], cache: Cache | None = None
    ) -> tuple[Float[Tensor, "b s c h w"], Cache]:
        """Encode the frames that follow those behind `cache` (None: the video begins here); t is a multiple of 4.

        Raises:
            ValueError: when t is not a multiple of 4, or H or W not a multiple of 8.
        """
        self._check(frames)
        past, kept = iter(cache) if cache is not None else None, list[Tensor]()
        x = rearrange(frames, "b t c h w -> b c t h w").to(self.dtype)
        x = _stream(self.encoder, x, past, kept)
        latents = self.to_latents.stream(self.norm_latents(x), past, kept)
        latents = self.latent_bound * torch.tanh(latents / self.latent_bound)
        return rearrange(latents, "b c s h w -> b s c h w"), tuple(kept)

    def decode(
        self, latents: Float[Tensor, "b s c h w"], cache: Cache | None = None
    ) -> tuple[Float[Tensor, "b t 3 H W"], Cache]:
        """Decode the latent frames that follow those behind `cache` (None: the video begins here)."""
        past, kept = iter(cache) if cache is not None else None, list[Tensor]()
        x = rearrange(latents, "b s c h w -> b c s h w").to(self.dtype)
        x = self.from_latents.stream(x, past, kept)
        x = _stream(self.decoder, x, past, kept)
        x = self.to_pixels.stream(F.silu(self.norm_out(x), inplace=True), past, kept)
        frames = self.to_frames.stream(F.silu(x, inplace=True), past, kept)
        return rearrange(frames, "b c t h w -> b t c h w"), tuple(kept)

    def _check(self, frames: Tensor) -> None:
        num_frames, (height, width) = frames.shape[1], frames.shape[-2:]
        if num_frames % self.time_compression:
            raise ValueError(f"got {num_frames} frames; the autoencoder takes a multiple of {self.time_compression}")
        if height % self.space_compression or width % self.space_compression:
            raise ValueError(
                f"got frames of {width}x{height}; give sides that are multiples of {self.space_compression}"
            )


def _channels_last(x: Float[Tensor, "b c s h w"]) -> Float[Tensor, "b c s h w"]:
    """On a processor with the channels of a position side by side, as its kernels like them best."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


def _stream(layers: Iterable[nn.Module], x: Tensor, past: Iterator[Tensor] | None, kept: list[Tensor]) -> Tensor:
    """One layer after the other."""
    for layer in cast(Iterable[Streaming], layers):
        x = layer.stream(x, past, kept)
    return x
