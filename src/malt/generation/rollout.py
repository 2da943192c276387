"""The seam of everything that makes a long video: a stream of segments."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """A finished piece of a video.

    index: its number. start: the number of its first frame. frames: (b, t, 3, H, W) in [-1, 1]. latents: what they were
    decoded from, standardised, (b, s, c, h, w). memory_bytes: size of the memory after it.
    """

    index: int
    start: int
    frames: Float[Tensor, "b t 3 H W"]
    latents: Float[Tensor, "b s c h w"]
    memory_bytes: int = 0


class Rollout(Protocol):
    """A way to make a long video."""

    def stream(self, num_frames: int) -> Iterator[Segment]:
        """Yield finished segments until `num_frames` frames have been made; the last is cut."""
        ...
