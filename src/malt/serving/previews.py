"""Pictures of a finished video: one of it, or a sheet of many, as OpenAI's video API has them."""

import io
import math
from pathlib import Path

import av
import numpy as np
from PIL import Image

MOST_TILES, TILE_SIDE = 25, 256  # of a sheet; pixels
QUALITY = 85


def thumbnail(video: Path) -> bytes:
    """The picture in a video's middle, as WebP."""
    (picture,) = _pictures(video, 1)
    return _written(picture, "WEBP")


def spritesheet(video: Path) -> bytes:
    """Pictures from all over a video, in rows, as JPEG."""
    pictures = _pictures(video, MOST_TILES)
    for picture in pictures:
        picture.thumbnail((TILE_SIDE, TILE_SIDE))
    width, height = pictures[0].size
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    return _written(sheet, "JPEG")


def _pictures(video: Path, most: int) -> list[Image.Image]:
    """At most so many pictures, evenly spread; only what lies around them is decoded."""
    with av.open(f"file:{video}", format="mp4") as container:
        stream = container.streams.video[0]
        times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        places = np.linspace(0, len(times) - 1, min(most, len(times)) + 2)[1:-1].round().astype(int)
        pictures = []
        for time in sorted({times[place] for place in places}):
            container.seek(time, stream=stream)
            frame = next(frame for frame in container.decode(stream) if frame.pts is not None and frame.pts >= time)
            pictures.append(Image.fromarray(frame.to_ndarray(format="rgb24")))
        return pictures


def _written(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, quality=QUALITY)
    return file.getvalue()
