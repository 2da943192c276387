"""The seam between pixels and latents: what a rollout and a training loop ask of any autoencoder."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """Frames (b, t, 3, H, W) in [-1, 1] to standardised latents (b, s, c, h, w) and back, as a stream.

    `cache` is a value: None where a video begins, then what the call before handed back. Encoding or decoding segment
    after segment gives what doing it whole gives.
    """

    time_compression: int  # frames in a latent frame; where a video begins there may be fewer, see `frames_of`
    space_compression: int  # pixels in the side of a latent pixel
    latent_channels: int

    def encode(self, frames: Float[Tensor, "b t 3 H W"], cache: Any = None) -> tuple[Float[Tensor, "b s c h w"], Any]:
        """Latents of the frames that follow those behind `cache`, and the cache after them; t is `frames_of` some s."""
        ...

    def decode(self, latents: Float[Tensor, "b s c h w"], cache: Any = None) -> tuple[Float[Tensor, "b t 3 H W"], Any]:
        """Frames of the latents that follow those behind `cache`, and the cache after them."""
        ...

    def frames_of(self, num_latents: int, first: bool) -> int:
        """How many frames so many latent frames stand for, where a video begins (`first`) and later."""
        ...


def check_frame_size(frames: Float[Tensor, "*b 3 H W"], multiple: int) -> None:
    """Refuse frames whose sides are no multiples of `multiple` pixels.

    Raises:
        ValueError: for such frames.
    """
    height, width = frames.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"got frames of {width}x{height}; give sides that are multiples of {multiple}")
