"""Signs of drift that the oracle reads: shapes lose their form, or stand still."""

from collections.abc import Sequence
from itertools import pairwise

from malt.worlds.passage.oracle import Seen, lane

LEAST_STEP, LARGEST_STEP = 0.2, 4.0  # pixels a frame that count as motion of a shape


def well_formed(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean number of well-formed shapes a frame; 0 if there are no frames."""
    return _mean([len(seen) for seen in readings])


def moving_shapes(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean number of well-formed shapes a frame that have moved since the frame before, by no more than shapes do."""
    counts = []
    for before, after in pairwise(readings):
        places = {(lane(seen), seen.kind, seen.colour): seen.x for seen in before}
        steps = (abs(seen.x - places.get((lane(seen), seen.kind, seen.colour), seen.x)) for seen in after)
        counts.append(sum(LEAST_STEP <= step <= LARGEST_STEP for step in steps))
    return _mean(counts)


def track_motion(readings: Sequence[Sequence[Seen]]) -> float:
    """Mean distance in pixels that shapes travel sideways in a frame, over those read in both; 0 if there are none."""
    steps = []
    for before, after in pairwise(readings):
        places = {(lane(seen), seen.kind, seen.colour): seen.x for seen in before}
        moved = ((seen.x, places.get((lane(seen), seen.kind, seen.colour))) for seen in after)
        steps += [abs(x - past) for x, past in moved if past is not None]
    return _mean(steps)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
