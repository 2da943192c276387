"""Reads pictures, upright and opaque, and cuts them to size: resized until they cover it, then cropped to their middle.

Axes: h height, w width; sizes are (height, width).
"""

from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from malt.errors import UsageError
from malt.media.decode_limits import NO_LIMITS, DecodeLimits

PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a damaged file
WHITE = (255, 255, 255, 255)


def read_image(
    source: Path | IO[bytes],
    size: tuple[int, int] | None = None,
    *,
    limits: DecodeLimits = NO_LIMITS,
    kind: str | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Read one picture, in its own size or cut to `size`; of an animated one, the first frame.

    Args:
        source: a file, or one that is open.
        size: height and width of the result.
        limits: how many pixels it may have.
        kind: Pillow's name of the format, where it must not be guessed.

    Raises:
        UsageError: there is no such file, it holds no picture, or it goes beyond the limits.
    """
    if isinstance(source, Path) and not source.is_file():
        raise UsageError(f"there is no file {source}; check the name")
    try:
        with Image.open(source, formats=None if kind is None else [kind]) as image:
            limits.check_size(image.width, image.height)
            return fit(ImageOps.exif_transpose(image), size)
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError("it has more pixels than can be read; give a smaller picture") from error
    except UNREADABLE as error:
        if isinstance(source, Path):
            raise UsageError(f"{source} is not a picture that can be read; give a PNG, JPEG or WebP file") from error
        raise UsageError("it is damaged, or not a picture") from error


def fit(
    image: Image.Image, size: tuple[int, int] | None = None, pixel_aspect: float = 1.0
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in RGB, in its own size or cut to `size`, never stretched.

    Pixels that were repeated a whole number of times come back as they were; any other shrinking is smooth.
    `pixel_aspect` is how wide its pixels are, measured in their height; those of the result are square.
    """
    image = opaque(image)
    shown = _shown_size(image, pixel_aspect)
    height, width = size or shown
    if (height, width) == (image.height, image.width) == shown:
        return np.asarray(image)
    left, top, right, bottom = _cover(shown, (height, width))
    across, down = image.width / shown[1], image.height / shown[0]  # pixels of the picture for one that is shown
    box = left * across, top * down, right * across, bottom * down
    factors = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    repeated = all(factor >= 1 and factor == int(factor) for factor in factors)
    method = Image.Resampling.BOX if repeated else Image.Resampling.BICUBIC
    return np.asarray(image.resize((width, height), method, box=box))


def opaque(image: Image.Image) -> Image.Image:
    """The picture in RGB: what is transparent lies on white, and grey of 16 bits keeps its eight highest ones."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture).convert("RGB")


def _eight_bits(levels: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """Levels of 16 bits, of 8 bits in wide numbers, or between 0 and 1, by what there is."""
    if levels.dtype.kind == "f":
        white = next((white for white in (1.0, 255.0, 65535.0) if levels.max() <= white), float(levels.max()))
    else:
        white = 65535.0 if levels.dtype.itemsize == 2 or levels.max() > 255 else 255.0
    return (levels.clip(0, white).astype(np.float64) * (255 / white)).round().astype(np.uint8)


def _shown_size(image: Image.Image, pixel_aspect: float) -> tuple[int, int]:
    """Height and width with square pixels: the picture grows on one side, and shrinks on none."""
    if pixel_aspect >= 1:
        return image.height, round(image.width * pixel_aspect)
    return round(image.height / pixel_aspect), image.width


def _cover(whole: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part in the middle of `whole` that has the sides' ratio of `size`: left, top, right, bottom."""
    ratio = size[1] / size[0]
    width, height = min(float(whole[1]), whole[0] * ratio), min(float(whole[0]), whole[1] / ratio)
    left, top = (whole[1] - width) / 2, (whole[0] - height) / 2
    return left, top, left + width, top + height
