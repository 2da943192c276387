"""Rotary positions in time, height and width (RoPE, arXiv:2104.09864): only differences count, so no time is too late."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

Rotation = Float[Tensor, "_ pairs 2"]  # of every token and pair of a head's channels, cosine and sine


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


def rotation(
    times: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device, side: int = 1
) -> Rotation:
    """Cosines and sines for the tokens (row, column) of frames at these times, one frame behind the other.

    Each token stands in the middle of `side` x `side` places.
    """
    make = _rotation if torch.compiler.is_compiling() else kept_rotation
    return make(times, rows, columns, head_dim, device, side)


def _rotation(
    times: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device, side: int
) -> Rotation:
    time = torch.tensor(times, device=device, dtype=torch.float32)
    row, column = (torch.arange(n, device=device).float() * side + (side - 1) / 2 for n in (rows, columns))
    grids = torch.meshgrid(time, row, column, indexing="ij")
    angle = torch.cat(
        [
            grid.flatten()[:, None] * _frequencies(n, device)
            for grid, n in zip(grids, split_axes(head_dim), strict=True)
        ],
        dim=1,
    )
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


@lru_cache(maxsize=64)  # every layer of every pass asks for the same few
@torch.inference_mode(False)  # what is kept serves training, too, whoever asked first
def kept_rotation(
    times: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device, side: int
) -> Rotation:
    """The same, kept."""
    return _rotation(times, rows, columns, head_dim, device, side)


def rotate(x: Float[Tensor, "b n k d"], rope: Rotation) -> Float[Tensor, "b n k d"]:
    """Turn every pair of neighbouring channels by its token's angle: a product of complex numbers, where there are such."""
    pairs, angles = x.unflatten(-1, (-1, 2)), rope[None, :, None]
    if x.dtype == torch.float32 and not torch.compiler.is_compiling():
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(angles))
    else:
        cos, sin = angles.to(x.dtype).unbind(dim=-1)
        turned = pairs * cos[..., None] + pairs.flip(-1) * torch.stack([-sin, sin], dim=-1)
    flat: Tensor = turned.flatten(-2)
    return flat


def _frequencies(channels: int, device: torch.device) -> Tensor:
    powers = -torch.arange(0, 1, 2 / channels, device=device)[: channels // 2]
    return torch.pow(100.0, powers)
