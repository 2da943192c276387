"""The oracle of `passage`: it reads kind and colour of every fully visible, well-formed shape from pixels alone.

It knows what the world's shapes and colours look like, never where they are: every patch of one palette colour is held
against the four kinds, each at the patch's own area and centroid. What fits none of them clearly, is cut off, blurred
or of a wrong size is not reported. Positions and radii are in pixels of the world's picture, 64 high; frames of other
sizes are scaled to it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from malt.worlds.passage.patches import WINDOW, Patches, find_patches
from malt.worlds.passage.scenes import COLOURS, KINDS, SIZE, SIZES, distances

LANE_BORDER = SIZE / 2  # shapes above it travel in lane 0, below it in lane 1
MIN_FIT = 0.84  # intersection over union with the best kind
MIN_LEAD = 0.03  # by which the best kind must beat the next
MIN_RADIUS, MAX_RADIUS = 0.8 * min(SIZES.values()), 1.25 * max(SIZES.values())
MAX_SOFTNESS = 2.0  # pixels over which an edge rises from a quarter to three quarters
MAX_COLOUR_ERROR = 0.25  # distance in RGB (0 ... 1) from the palette's colour
BESIDE = 1.2  # how far from a shape's sides its surroundings are looked at, pixels
MAX_CONTRAST = 0.115  # between what is left and what is right of a shape; beyond it, a wall stands before the shape
FRAMES_AT_ONCE = 64  # bounds the memory that a long video takes


@dataclass(frozen=True)
class Seen:
    """A shape read in one frame; `fit` is how well its pixels agree with its kind (intersection over union)."""

    kind: str
    colour: str
    x: float
    y: float
    radius: float
    fit: float


def lane(seen: Seen) -> int:
    """The lane a shape travels in: 0 the upper, 1 the lower."""
    return int(seen.y >= LANE_BORDER)


@torch.inference_mode()
def read_shapes(frames: Tensor | np.ndarray) -> list[list[Seen]]:
    """Read every frame of a video, uint8 (t, h, w, 3) or float (t, 3, h, w) in [-1, 1]: one list of shapes a frame."""
    chunks = torch.as_tensor(frames).split(FRAMES_AT_ONCE) if len(frames) else ()
    return [seen for chunk in chunks for seen in _read(normalise(chunk.cpu()))]


def normalise(frames: Tensor) -> Float[Tensor, "t 3 h w"]:
    """Frames of either layout in [0, 1] and of the world's height."""
    is_bytes = frames.dtype == torch.uint8
    if frames.ndim != 4 or frames.shape[3 if is_bytes else 1] != 3:
        raise ValueError(f"cannot read {tuple(frames.shape)}; give uint8 (t, h, w, 3) or float (t, 3, h, w) in [-1, 1]")
    pictures = rearrange(frames, "t h w c -> t c h w") / 255 if is_bytes else (frames.float() + 1) / 2
    height, width = pictures.shape[-2:]
    if height == SIZE:
        return pictures
    return F.interpolate(pictures, (SIZE, round(width * SIZE / height)), mode="bilinear", antialias=True)


def _read(pictures: Float[Tensor, "t 3 h w"]) -> list[list[Seen]]:
    """Find patches, fit the kinds to them, and report those that are well-formed shapes."""
    readings: list[list[Seen]] = [[] for _ in pictures]
    patches = find_patches(pictures)
    if len(patches.frame) == 0:
        return readings
    best = _best_fit(patches.coverage)
    colours = tuple(COLOURS)
    for n in _well_formed(patches, best).nonzero()[:, 0].tolist():
        x, y = float(patches.left[n] + best.x[n]), float(patches.top[n] + best.y[n])
        kind, colour = KINDS[int(best.kind[n])], colours[int(patches.colour[n])]
        readings[int(patches.frame[n])].append(Seen(kind, colour, x, y, float(best.radius[n]), float(best.fit[n])))
    return readings


@dataclass(frozen=True, kw_only=True)
class _UnitKinds:
    """What the four kinds measure at radius 1; `drop` is how far the centroid lies below the middle of the box."""

    area: Float[Tensor, " kind"]
    drop: Float[Tensor, " kind"]
    outline: Float[Tensor, " kind"]
    half_width: Float[Tensor, " kind"]


@cache
def _unit_kinds() -> _UnitKinds:
    """Measure the kinds on a fine grid, so that the oracle follows the world's own definition of them."""
    num, extent, band = 800, 1.5, 0.02
    axis = ((torch.arange(num) + 0.5) / num * 2 - 1) * extent
    distance = distances(axis[None, :], axis[:, None], torch.ones(()))
    inside, pixel = distance < 0, (2 * extent / num) ** 2
    return _UnitKinds(
        area=inside.sum((1, 2)) * pixel,
        drop=(inside * axis[:, None]).sum((1, 2)) / inside.sum((1, 2)),
        outline=(distance.abs() < band).sum((1, 2)) * pixel / (2 * band),
        half_width=(inside.any(1) * axis).amax(1),
    )


@dataclass(frozen=True, kw_only=True)
class _Best:
    """The kind that fits each patch best, its centre in the patch's window, and its lead over the next kind."""

    kind: Int[Tensor, " n"]
    x: Float[Tensor, " n"]
    y: Float[Tensor, " n"]
    radius: Float[Tensor, " n"]
    fit: Float[Tensor, " n"]
    lead: Float[Tensor, " n"]


def _best_fit(coverage: Float[Tensor, "n window window"]) -> _Best:
    """Fit every kind in closed form: its radius from the patch's area, its centre from the patch's centroid."""
    unit, middle = _unit_kinds(), torch.arange(WINDOW) + 0.5
    area = coverage.sum((1, 2)).clamp(min=1)[:, None]
    radius = (area / unit.area).sqrt()
    x = ((coverage.sum(1) @ middle)[:, None] / area).expand_as(radius)
    y = (coverage.sum(2) @ middle)[:, None] / area - unit.drop * radius
    fits = torch.stack([_fit(coverage, k, x[:, k], y[:, k], radius[:, k]) for k in range(len(KINDS))], dim=1)
    (fit, second), kind = fits.topk(2, dim=1).values.unbind(1), fits.argmax(1)
    x, y, radius = (of_kind.gather(1, kind[:, None])[:, 0] for of_kind in (x, y, radius))
    return _Best(kind=kind, x=x, y=y, radius=radius, fit=fit, lead=fit - second)


def _fit(coverage: Tensor, kind: int, x: Tensor, y: Tensor, radius: Tensor) -> Float[Tensor, " n"]:
    """Intersection over union of each patch with a shape of this kind."""
    middle = torch.arange(WINDOW) + 0.5
    dx, dy = middle - x[:, None, None], middle[:, None] - y[:, None, None]
    ideal = (0.5 - distances(dx, dy, radius[:, None, None])[kind]).clamp(0, 1)
    return torch.minimum(ideal, coverage).sum((1, 2)) / torch.maximum(ideal, coverage).sum((1, 2))


def _well_formed(patches: Patches, best: _Best) -> Bool[Tensor, " n"]:
    """Whether each patch is a whole, crisp shape of a size and colour that the world has."""
    outline = _unit_kinds().outline[best.kind] * best.radius
    return (
        (best.fit >= MIN_FIT)
        & (best.lead >= MIN_LEAD)
        & (best.radius >= MIN_RADIUS)
        & (best.radius <= MAX_RADIUS)
        & (patches.num_soft_pixels <= MAX_SOFTNESS * outline)
        & (patches.colour_error <= MAX_COLOUR_ERROR)
        & (_contrast(patches, best) <= MAX_CONTRAST)
        & ~patches.at_border
    )


def _contrast(patches: Patches, best: _Best) -> Float[Tensor, " n"]:
    """How different the colours just left and just right of a shape are: very, if a wall cuts it off."""
    beside = _unit_kinds().half_width[best.kind] * best.radius + BESIDE
    rows = (torch.arange(WINDOW) + 0.5 - best.y[:, None]).abs() <= best.radius[:, None]
    profile = (patches.pixels * rows[:, :, None, None]).sum(1) / rows.sum(1)[:, None, None].clamp(min=1)
    difference = _at(profile, best.x - beside) - _at(profile, best.x + beside)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return distance


def _at(profile: Float[Tensor, "n window 3"], x: Float[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    """The colour of each profile at x, interpolated between the middles of its pixels."""
    position = (x - 0.5).clamp(0, WINDOW - 1.001)
    low, n = position.long(), torch.arange(len(x))
    return torch.lerp(profile[n, low], profile[n, low + 1], (position - low)[:, None])
