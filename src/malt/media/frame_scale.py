"""How large frames are written: small ones enlarged, sides even where an encoding wants it, none beyond what players take.

Axes: h height, w width.
"""

import numpy as np
from jaxtyping import UInt8

from malt.errors import UsageError

VISIBLE_SIDE = (
    256  # pixels of a frame's shorter side up to which small videos are enlarged unless something else is asked
)
MAX_SIDE = 8192  # pixels of a frame's longer side


def choose_scale(size: tuple[int, int], scale: int | None) -> int:
    """How many times each pixel of frames of `size` (height, width) is written each way: `scale`, or what makes them visible.

    Raises:
        UsageError: the frames would be larger than players and encoders take.
    """
    if scale is None:
        return max(1, VISIBLE_SIDE // min(size))
    if (largest := max(1, MAX_SIDE // max(size))) < scale:
        height, width = size
        raise UsageError(
            f"a scale of {scale} makes frames of {width * scale}x{height * scale} of the model's {width}x{height}; give at most "
            f"{largest}"
        )
    return scale


def enlarge(picture: UInt8[np.ndarray, "h w *c"], scale: int) -> UInt8[np.ndarray, "h2 w2 *c"]:
    """Repeat every pixel `scale` times each way: along rows first, while they are few, and then whole rows."""
    return picture.repeat(scale, axis=1).repeat(scale, axis=0)


def fit_to_encoding(frame: UInt8[np.ndarray, "h w 3"], *, scale: int, even: bool) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Repeat every pixel `scale` times each way and, where sizes must be even, the last row or column of odd ones."""
    larger = enlarge(frame, scale)
    if even:
        height, width, _ = larger.shape
        larger = np.pad(larger, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(larger)
