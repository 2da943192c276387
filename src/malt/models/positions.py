"""Rotary positions in time, height and width (RoPE, arXiv:2104.09864): only differences count, so no time is too late."""

from functools import lru_cache

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

Rotation = tuple[Tensor, Tensor]  # cosines, and sines of which every other one is negated, (n, head_dim)


def split_axes(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's channels turn with time, with height and with width; each even, together `head_dim`.

    Raises:
        ValueError: for a head that is too small, or odd.
    """
    if head_dim < 8 or head_dim % 2:
        raise ValueError(
            f"a head of {head_dim} channels cannot turn with time, height and width; give 8, 10, 12 or more"
        )
    time = head_dim // 4 // 2 * 2
    height = (head_dim - time) // 4 * 2
    return time, height, head_dim - time - height


@lru_cache(maxsize=64)  # every layer of every pass asks for the same few
def rotation(start: int, num_frames: int, height: int, width: int, head_dim: int, device: torch.device) -> Rotation:
    """Cosines and sines for tokens (frame, row, column), flattened in this order; the first frame's time is `start`."""
    return rotation_at(torch.arange(start, start + num_frames, device=device).float(), height, width, head_dim)


def rotation_at(times: Float[Tensor, " f"], height: int, width: int, head_dim: int, side: int = 1) -> Rotation:
    """Cosines and sines for the tokens (row, column) of frames at these times, one frame behind the other.

    Each token stands in the middle of `side` x `side` places.
    """
    device = times.device
    rows, columns = (torch.arange(n, device=device).float() * side + (side - 1) / 2 for n in (height, width))
    grids = torch.meshgrid(times, rows, columns, indexing="ij")
    angles = [
        grid.flatten()[:, None] * _frequencies(n, device) for grid, n in zip(grids, split_axes(head_dim), strict=True)
    ]
    angle = repeat(torch.cat(angles, dim=1), "n f -> n (f pair)", pair=2)
    sign = 2 * torch.arange(angle.shape[1], device=device).remainder(2) - 1  # of every other one negative
    return angle.cos(), angle.sin() * sign


def rotate(x: Float[Tensor, "b n k d"], rope: Rotation) -> Float[Tensor, "b n k d"]:
    """Turn every pair of neighbouring channels by its token's angle."""
    cos, sin = (table[None, :, None].to(x.dtype) for table in rope)
    neighbour = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    turned: Tensor = x * cos + neighbour * sin
    return turned


def _frequencies(channels: int, device: torch.device) -> Tensor:
    powers = -torch.arange(0, 1, 2 / channels, device=device)[: channels // 2]
    return torch.pow(100.0, powers)
