"""Pictures cut to size: resized until they cover it, then cropped to their middle."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps


def fit(image: Image.Image, size: tuple[int, int] | None) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in RGB, in its own size or cut to `size` (height, width), never stretched.

    Pixels that were repeated a whole number of times come back as they were; any other shrinking is smooth.
    """
    image = image.convert("RGB")
    if size is None or size == (image.height, image.width):
        return np.asarray(image)
    height, width = size
    factor = min(image.height / height, image.width / width)
    method = Image.Resampling.BOX if factor >= 1 and factor == int(factor) else Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(image, (width, height), method=method))
