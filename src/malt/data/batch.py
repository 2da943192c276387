"""What a training step learns from: windows of latents with what was said of them and done in them."""

import random
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class Batch(NamedTuple):
    """Windows of videos.

    latents: standardised, the context before the first segment included; zero where there is none. captions: one a video,
    "" for none. begins: which windows begin a video, so that their context is nothing. actions: of every latent frame,
    those of its video frames side by side; None where nobody acts.
    """

    latents: Float[Tensor, "b s c h w"]
    captions: list[str]
    begins: Bool[Tensor, " b"]
    actions: Float[Tensor, "b s a"] | None = None


def far_start(draw: random.Random, first: int) -> int:
    """Where the far frames of a window begin that begins at `first`: half of them where the video does."""
    return 0 if draw.random() < 0.5 else draw.randrange(first + 1)
