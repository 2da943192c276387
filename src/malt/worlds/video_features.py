"""Features of videos to compare sets of them by: the protocol, and how a network takes many of them."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

AT_ONCE = 32  # clips or frames that go through a network together


@runtime_checkable
class Features(Protocol):
    """Videos in, features out: several for each video, or one."""

    @property
    def name(self) -> str:
        """What features these are, in words."""
        ...

    def ends(self, num_frames: int) -> list[int]:
        """The last frame, counted from 1, that each feature of a video of so many frames sees."""
        ...

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """Features of videos in [-1, 1], the first video's first; as many of each as it has `ends`."""
        ...


@torch.no_grad()
def in_parts(network: Callable[[Tensor], Tensor], inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
    """What a network makes of clips or frames, a few at a time, flat and in float32."""
    return torch.cat([network(part).flatten(1).float() for part in inputs.split(AT_ONCE)])
