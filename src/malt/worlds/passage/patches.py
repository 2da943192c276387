"""Patches of one colour of the `passage` palette, found in pictures and measured one by one.

Axes: t frames, n patches; pixel coordinates grow to the right and downwards; a patch is looked at in a square window.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from malt.worlds.passage.scenes import COLOURS, PLACES, WALLS

WINDOW = 36  # height and width of a window in pixels: room for the largest shape and what is around it
MIN_PIXELS, MAX_PIXELS = 40, 400  # of a patch that is worth a second look


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Patches found in a video and what was measured of each; colours are in [0, 1]."""

    frame: Int[Tensor, " n"]
    colour: Int[Tensor, " n"]  # index into COLOURS
    top: Int[Tensor, " n"]  # where the window begins in the picture; may be outside of it
    left: Int[Tensor, " n"]
    pixels: Float[Tensor, "n window window 3"]  # the window's pixels, the picture's border repeated outside of it
    coverage: Float[Tensor, "n window window"]  # how much of each pixel the patch covers
    num_soft_pixels: Int[Tensor, " n"]  # pixels of its edge that it covers by a quarter to three quarters
    colour_error: Float[Tensor, " n"]  # distance of its mean colour from the palette's
    at_border: Bool[Tensor, " n"]  # whether it reaches the border of the picture


@cache
def palette() -> Float[Tensor, "colour 3"]:
    """The shapes' colours first, then those of everything else: places from top to bottom, blocks and joints."""
    places = [
        torch.lerp(torch.tensor(top), torch.tensor(end), at) for top, end in PLACES.values() for at in (0, 0.5, 1)
    ]
    walls = [torch.tensor(tone) for tones in WALLS.values() for tone in tones]
    return torch.stack([*map(torch.tensor, COLOURS.values()), *places, *walls])


def nearest_colour(pictures: Float[Tensor, "t 3 h w"]) -> Int[Tensor, "t h w"]:
    """Index into `palette` of the colour nearest to every pixel."""
    colours, pixels = palette(), rearrange(pictures, "t c h w -> (t h w) c")
    nearness = torch.addmm(-0.5 * colours.square().sum(1), pixels, colours.T)
    return nearness.argmax(1).view(pictures.shape[0], *pictures.shape[2:])


def find_patches(pictures: Float[Tensor, "t 3 h w"]) -> Patches:
    """Find the connected patches that are neither specks nor fields, and measure them; pictures are in [0, 1]."""
    is_colour = nearest_colour(pictures) == torch.arange(len(COLOURS))[:, None, None, None]
    labels, _ = ndimage.label(is_colour.numpy(), _in_plane())
    boxes, sizes = ndimage.find_objects(labels), np.bincount(labels.ravel())
    kept = [n for n, size in enumerate(sizes) if n and MIN_PIXELS <= size <= MAX_PIXELS]
    corners = [[box[0].start, box[1].start, *map(_window_start, box[2:])] for box in (boxes[n - 1] for n in kept)]
    colour, frame, top, left = torch.tensor(corners, dtype=torch.long).view(-1, 4).unbind(1)
    rows, columns, inside = _grid(top, left, pictures.shape[-2:])
    index = torch.tensor(kept, dtype=torch.long)[:, None, None]
    mask = (torch.from_numpy(labels)[colour[:, None, None], frame[:, None, None], rows, columns] == index) & inside
    pixels = pictures[frame[:, None, None], :, rows, columns]
    own = _mean(pixels, ~_grow(~mask, 1))
    share = torch.where(_grow(mask, 2) & inside, _share(pixels, own, _around(pixels, mask, inside)), 0.0)
    return Patches(
        frame=frame,
        colour=colour,
        top=top,
        left=left,
        pixels=pixels,
        coverage=(2 * share - 0.5).clamp(0, 1),  # steeper than the share, so that noise counts neither in nor out
        num_soft_pixels=((share > 0.25) & (share < 0.75)).sum((1, 2)),
        colour_error=torch.linalg.vector_norm(own[:, 0, 0] - palette()[colour], dim=-1),
        at_border=((share > 0.5) & ~_interior(rows, columns, pictures.shape[-2:])).flatten(1).any(1),
    )


@cache
def _in_plane() -> np.ndarray:
    """Which neighbours make one patch: above, below, left and right, never in another colour or frame."""
    structure = np.zeros((3, 3, 3, 3), dtype=bool)
    structure[1, 1, 1, :] = structure[1, 1, :, 1] = True
    return structure


def _window_start(extent: slice) -> int:
    """Where a window begins that has this extent in its middle."""
    middle: int = extent.start + extent.stop
    return (middle - WINDOW) // 2


def _grid(
    top: Tensor, left: Tensor, size: torch.Size
) -> tuple[Int[Tensor, "n window 1"], Int[Tensor, "n 1 window"], Tensor]:
    """Row and column of every pixel of the windows, kept within the picture, and whether they were within it."""
    steps = torch.arange(WINDOW)
    rows, columns = (top[:, None] + steps)[:, :, None], (left[:, None] + steps)[:, None, :]
    kept_rows, kept_columns = rows.clamp(0, size[0] - 1), columns.clamp(0, size[1] - 1)
    return kept_rows, kept_columns, (rows == kept_rows) & (columns == kept_columns)


def _interior(rows: Tensor, columns: Tensor, size: torch.Size) -> Bool[Tensor, "n window window"]:
    """Whether pixels are off the picture's border."""
    return (rows > 0) & (rows < size[0] - 1) & (columns > 0) & (columns < size[1] - 1)


def _grow(mask: Bool[Tensor, "n h w"], by: int) -> Bool[Tensor, "n h w"]:
    """The mask and every pixel up to `by` away from it."""
    return F.max_pool2d(mask[:, None].float(), 2 * by + 1, stride=1, padding=by)[:, 0] > 0


def _mean(pixels: Float[Tensor, "n h w 3"], mask: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 1 1 3"]:
    """Mean colour of the masked pixels of each window."""
    weight = mask[..., None].float()
    return (pixels * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True).clamp(min=1)


def _around(pixels: Tensor, mask: Tensor, inside: Tensor) -> Float[Tensor, "n 1 1 3"]:
    """Mean colour of what surrounds each patch, clear of its edge."""
    return _mean(pixels, _grow(mask, 4) & ~_grow(mask, 2) & inside)


def _share(pixels: Tensor, own: Tensor, around: Tensor) -> Float[Tensor, "n h w"]:
    """How far pixels are on the way from the colour around a patch (0 or less) to its own colour (1)."""
    contrast = torch.linalg.vector_norm(own - around, dim=-1).clamp(min=1e-3)
    share: Tensor = 1 - torch.linalg.vector_norm(pixels - own, dim=-1) / contrast
    return share
