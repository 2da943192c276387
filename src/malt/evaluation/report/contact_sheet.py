"""A contact sheet: videos one below the other, each a row of frames sampled evenly, with their captions."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from malt.wording import counted
from malt.worlds.base import Sighting

PAPER, INK, FAINT = (250, 250, 248), (20, 20, 24), (110, 110, 116)
GAP = 4  # pixels between frames and round the sheet
TEXT, LABEL = 14, 11  # heights of captions and of labels on frames, pixels
LINE = TEXT + 2 * GAP


def contact_sheet(
    videos: Float[Tensor, "b t 3 h w"],
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
    scale: int = 2,
    readings: Sequence[Sequence[Sequence[Sighting]]] | None = None,
) -> Image.Image:
    """Lay out videos in [-1, 1], their frames enlarged `scale` times.

    Readings of the oracle (video, frame, thing), if given, are written on the frames.
    """
    num_videos, num_frames, _, height, width = videos.shape
    if captions is not None and len(captions) != num_videos:
        raise ValueError(
            f"got {counted(len(captions), 'caption')} for {counted(num_videos, 'video')}; give one for each, or none"
        )
    shown = sampled_frames(num_frames, columns)
    cell_height, cell_width = height * scale + GAP, width * scale + GAP
    row_height = cell_height + (LINE if captions else 0)
    sheet_width = GAP + max(len(shown) * cell_width, *(int(_font(TEXT).getlength(text)) for text in captions or ("",)))
    sheet = Image.new("RGB", (sheet_width, GAP + LINE + num_videos * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, frame in enumerate(shown):
        left = GAP + column * cell_width
        draw.text((left, GAP), f"frame {frame}" if column == 0 else str(frame), FAINT, _font(TEXT))
        for row in range(num_videos):
            top = GAP + LINE + (row + 1) * row_height - cell_height
            sheet.paste(_picture(videos[row, frame], scale), (left, top))
            if readings is not None:
                _write_labels(draw, readings[row][frame], left, top, height * scale, width * scale)
    for row, text in enumerate(captions or ()):
        draw.text((GAP, GAP + LINE + row * row_height), text, INK, _font(TEXT))
    return sheet


def sampled_frames(num_frames: int, columns: int) -> list[int]:
    """Frames to show, evenly from the first to the last; all of them if there are no more than columns."""
    return torch.linspace(0, num_frames - 1, min(columns, num_frames)).round().long().tolist()


def _picture(frame: Float[Tensor, "3 h w"], scale: int) -> Image.Image:
    """One frame, every pixel a square of `scale` pixels."""
    levels = ((frame.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte()
    picture = Image.fromarray(rearrange(levels, "c h w -> h w c").contiguous().numpy())
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _write_labels(
    draw: ImageDraw.ImageDraw, seen: Sequence[Sighting], left: int, top: int, height: int, width: int
) -> None:
    """Write what the oracle read where it read it, kept within the frame."""
    for each in seen:
        half = _font(LABEL).getlength(each.label) / 2 + 2
        x, y = min(max(each.x * height, half), max(width - half, half)), min(each.y * height, height - LABEL - 2)
        draw.text(
            (left + x, top + y), each.label, "white", _font(LABEL), anchor="ma", stroke_width=2, stroke_fill="black"
        )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that no font need be installed."""
    return ImageFont.load_default(size)
