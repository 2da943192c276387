"""Signs of drift in the pictures of any video: motion freezes, edges blur, colours drift."""

import torch
from jaxtyping import Float
from torch import Tensor

BOXES = 4  # of each colour channel


def motion(frames: Float[Tensor, "t c h w"]) -> float:
    """Mean absolute difference between a frame and the next; 0 for fewer than two frames."""
    return float((frames[1:] - frames[:-1]).abs().mean()) if len(frames) > 1 else 0.0


def sharpness(frames: Float[Tensor, "t c h w"]) -> float:
    """Mean magnitude of the gradient from pixel to pixel."""
    right = frames[..., :-1, 1:] - frames[..., :-1, :-1]
    down = frames[..., 1:, :-1] - frames[..., :-1, :-1]
    return float((right.square() + down.square()).sqrt().mean())


def colour_histogram(frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, " bins"]:
    """Share of pixels in each of 4 x 4 x 4 boxes of RGB."""
    levels = ((frames + 1) / 2 * BOXES).long().clamp(0, BOXES - 1)
    boxes = (levels[:, 0] * BOXES + levels[:, 1]) * BOXES + levels[:, 2]
    return torch.bincount(boxes.flatten(), minlength=BOXES**3).double() / boxes.numel()


def histogram_distance(frames: Float[Tensor, "t 3 h w"], others: Float[Tensor, "u 3 h w"]) -> float:
    """Share of pixels that would have to change their box: 0 for the same colours, 1 for none in common."""
    return float((colour_histogram(frames) - colour_histogram(others)).abs().sum() / 2)
