"""Signs of wear in a long video: shapes lose their form, motion freezes, edges blur."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from malt.evaluation.oracle import Seen, lane


def well_formed(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean number of well-formed shapes a frame; 0 if there are no frames."""
    return _mean([len(seen) for seen in readings])


def motion(frames: Float[Tensor, "t c h w"]) -> float:
    """Mean absolute difference between a frame and the next; 0 for fewer than two frames."""
    return float((frames[1:] - frames[:-1]).abs().mean()) if len(frames) > 1 else 0.0


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
