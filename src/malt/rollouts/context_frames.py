"""What lies before the frames that are made: the last latent frames and what was done in them."""

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.flow import interpolate
from malt.diffusion.partial import KnownAt, KnownFrames


def last(frames: Tensor, count: int) -> Tensor:
    """The last `count` latent frames, or all where there are fewer."""
    return frames[:, max(0, frames.shape[1] - count) :]


def with_context(past: Tensor | None, actions: Tensor | None, count: int) -> Tensor | None:
    """A segment's actions behind those of its context, `count` latent frames; where there is none, nothing was done."""
    if actions is None:
        return None
    known = actions[:, :0] if past is None else last(past, count)
    missing = actions.new_zeros(len(actions), count - known.shape[1], actions.shape[2])
    return torch.cat([missing, known, actions], dim=1)


def context_before(
    tail: Float[Tensor, "b _ c h w"] | None, noise: Float[Tensor, "b n c h w"], noise_level: float
) -> KnownFrames:
    """As many latent frames before a segment as there is noise, at `noise_level`; where there are none, noise at 1."""
    known = noise[:, :0] if tail is None else last(tail, noise.shape[1])
    missing = noise.shape[1] - known.shape[1]
    level = torch.tensor([1.0] * missing + [noise_level] * known.shape[1], device=noise.device)
    level = repeat(level, "s -> b s", b=len(noise))
    return interpolate(torch.cat([noise[:, :missing], known], dim=1), noise, level), level


def context_alongside(tail: Float[Tensor, "b _ c h w"] | None, noise: Float[Tensor, "b n c h w"]) -> KnownAt:
    """The latent frames before a segment at every step at the noise level of its own, for models that know one level a video.

    Source: conditional sampling by replacement, Video Diffusion Models (arXiv:2204.03458).
    """

    def known(level: float) -> KnownFrames:
        frames, ends = context_before(tail, noise, level)
        return frames, torch.full_like(ends, level)

    return known
