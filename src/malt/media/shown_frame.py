"""Turns decoded frames into pictures as a player shows them: upright, with square pixels, opaque, in standard range.

Axes: h height, w width; sizes are (height, width).
"""

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter
from jaxtyping import UInt8
from PIL import Image

from malt.media.images import fit

HIGH_RANGE = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}  # PQ and HLG
WIDE_GAMUT = ColorPrimaries.BT2020
MAX_PIXEL_ASPECT = 16  # a pixel that claims to be longer than this is taken for a square


class FrameConverter:
    """Converts the frames of one video track; it is set up once, which takes longer than a frame's own work."""

    def __init__(self, pixel_aspect: float) -> None:
        """Take how wide the pixels of the track are, measured in their height."""
        plausible = 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT
        self.pixel_aspect = pixel_aspect if plausible else 1.0
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, size: tuple[int, int] | None) -> UInt8[np.ndarray, "h w 3"]:
        """The frame in RGB, in its own size or cut to `size`.

        PQ, HLG and BT.2020 become BT.709: what is brighter than its white (203 cd/m2) is white. Transparent frames lie on
        white, as pictures do.
        """
        pixels = self._to_rgb(frame)
        turn, aspect = frame.rotation % 360, self.pixel_aspect
        if not turn and aspect == 1 and pixels.shape[2] == 3 and size in (None, pixels.shape[:2]):
            return pixels
        image = Image.fromarray(pixels)
        if turn:
            image = image.rotate(turn, expand=True)
        return fit(image, size, 1 / aspect if turn in (90, 270) else aspect)

    def _to_rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w c"]:
        layout = "rgba" if _may_be_transparent(frame) else "rgb24"
        if frame.color_trc in HIGH_RANGE or frame.color_primaries == WIDE_GAMUT:
            trc, primaries = ColorTrc.BT709, ColorPrimaries.BT709
            shown = self._reformatter.reformat(frame, format=layout, dst_color_trc=trc, dst_color_primaries=primaries)
        else:
            shown = self._reformatter.reformat(frame, format=layout)
        return shown.to_ndarray()


def _may_be_transparent(frame: VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
