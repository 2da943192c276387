"""What a call of a pipeline hands back, in the forms that diffusers' video pipelines have."""

from dataclasses import dataclass

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from malt.errors import UsageError

Frames = list[list[Image.Image]] | np.ndarray | Tensor
OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass
class MaltPipelineOutput(BaseOutput):
    """What a call made, one video a prompt.

    frames: lists of Pillow images, an array (b, t, H, W, 3) in [0, 1], a tensor (b, t, 3, H, W) in [0, 1], or latents
    (b, s, c, h, w), which `pipe.codec.decode` takes.
    """

    frames: Frames


def check_output(output_type: str, latents: Tensor | None) -> None:
    """Refuse a kind of output that there is not, and latents, which are not taken.

    Raises:
        UsageError: for either.
    """
    if output_type not in OUTPUT_TYPES:
        raise UsageError(f"there is no output type {output_type!r}; choose one of {', '.join(OUTPUT_TYPES)}")
    if latents is not None:
        raise UsageError("latents are not taken, as each segment draws its noise; give a generator for the same noise")
