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
    latent_group: int  # every piece of a video but its first has a multiple of so many latent frames

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


def check_frame_count(frames: Float[Tensor, "b t 3 H W"], group: int, first: bool) -> int:
    """How many latent frames these are, for codecs whose first is one frame and whose later ones are `group` frames.

    Raises:
        ValueError: they do not fill whole latent frames.
    """
    count = frames.shape[1]
    later, rest = divmod(count - first, group)
    if rest or count < 1:
        fitting, which = (f"1 + {group} k", "the first") if first else (f"{group} k", "later")
        raise ValueError(f"got {count} frames; {which} ones are to be {fitting} at a time")
    return later + first


def causal_frames(num_latents: int, group: int, first: bool) -> int:
    """How many frames so many latent frames are, where a video's first is one frame and each later one `group` frames."""
    return num_latents * group - (group - 1) * (first and num_latents > 0)


def most_latents(codec: Codec, num_frames: int, first: bool) -> int:
    """How many latent frames so many frames fill; frames that are left over fill no more."""
    most, step = -(-num_frames // codec.time_compression) + 1, 1 if first else codec.latent_group
    fits = (count for count in range(most, 0, -1) if count % step == 0)
    return next((count for count in fits if codec.frames_of(count, first) <= num_frames), 0)
