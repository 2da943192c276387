"""Signs of wear in a long video: shapes lose their form, motion freezes, edges blur, colours drift."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.passage.oracle import Seen, lane

LEAST_STEP, LARGEST_STEP = 0.2, 4.0  # pixels a frame that count as motion of a shape
BOXES = 4  # of each colour channel


def well_formed(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean number of well-formed shapes a frame; 0 if there are no frames."""
    return _mean([len(seen) for seen in readings])


def motion(frames: Float[Tensor, "t c h w"]) -> float:
    """Mean absolute difference between a frame and the next; 0 for fewer than two frames."""
    return float((frames[1:] - frames[:-1]).abs().mean()) if len(frames) > 1 else 0.0


def moving_shapes(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean number of well-formed shapes a frame that have moved since the frame before, by no more than shapes do."""
    counts = []
    for before, after in pairwise(readings):
        places = {(lane(seen), seen.kind, seen.colour): seen.x for seen in before}
        steps = (abs(seen.x - places.get((lane(seen), seen.kind, seen.colour), seen.x)) for seen in after)
        counts.append(sum(LEAST_STEP <= step <= LARGEST_STEP for step in steps))
    return _mean(counts)


def colour_histogram(frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, " bins"]:
    """Share of pixels in each of 4 x 4 x 4 boxes of RGB."""
    levels = ((frames + 1) / 2 * BOXES).long().clamp(0, BOXES - 1)
    boxes = (levels[:, 0] * BOXES + levels[:, 1]) * BOXES + levels[:, 2]
    return torch.bincount(boxes.flatten(), minlength=BOXES**3).double() / boxes.numel()


def histogram_distance(frames: Float[Tensor, "t 3 h w"], others: Float[Tensor, "u 3 h w"]) -> float:
    """Share of pixels that would have to change their box: 0 for the same colours, 1 for none in common."""
    return float((colour_histogram(frames) - colour_histogram(others)).abs().sum() / 2)


def track_motion(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean distance in pixels that shapes travel sideways in a frame, over those read in both; 0 if there are none."""
    steps = []
    for before, after in pairwise(readings):
        places = {(lane(seen), seen.kind, seen.colour): seen.x for seen in before}
        moved = ((seen.x, places.get((lane(seen), seen.kind, seen.colour))) for seen in after)
        steps += [abs(x - past) for x, past in moved if past is not None]
    return _mean(steps)


def sharpness(frames: Float[Tensor, "t c h w"]) -> float:
    """Mean magnitude of the gradient from pixel to pixel."""
    right = frames[..., :-1, 1:] - frames[..., :-1, :-1]
    down = frames[..., 1:, :-1] - frames[..., :-1, :-1]
    return float((right.square() + down.square()).sqrt().mean())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
