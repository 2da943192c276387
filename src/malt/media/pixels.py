"""Between pictures as files hold them, uint8 (t, h, w, 3), and as models do, float (t, 3, h, w) in [-1, 1]."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor


def to_tensor(pixels: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t 3 h w"]:
    """Give pictures as a model takes them; the inverse of `to_pixels`."""
    return rearrange(torch.tensor(pixels), "t h w c -> t c h w").float() / 127.5 - 1


def to_pixels(frames: Float[Tensor, "t 3 h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Give a model's pictures as files hold them, cut off outside [-1, 1]; the inverse of `to_tensor`."""
    levels = ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rearrange(levels.cpu(), "t c h w -> t h w c").contiguous().numpy()
