"""Small videos of every awkward kind: turned, held, with long pixels, covers, ten bits, high range, transparency."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 8
SIZE = 32, 48  # height, width
HALVES = (200, 40, 40), (40, 40, 200)  # the left and the right half of a picture


def picture(index: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Red on the left, blue on the right, a little brighter with every frame."""
    pixels = np.empty((*size, 3), np.uint8)
    for half, colour in zip(np.array_split(pixels, 2, axis=1), HALVES, strict=True):
        half[:] = np.array(colour) + 4 * index
    return pixels


def write(
    path: Path,
    pictures: Iterable[np.ndarray],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Iterable[int] | None = None,
    prepare: Callable[[av.VideoStream], object] = lambda stream: None,
    layout: str = "rgb24",
    rate: int = RATE,
) -> Path:
    """One track; `times` are in frames, `prepare` sets the stream up further."""
    pictures = list(pictures)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixel_format
        prepare(stream)
        for pixels, time in zip(pictures, times or range(len(pictures)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format=layout)
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plain(folder: Path) -> Path:
    return write(folder / "plain.mp4", map(picture, range(8)))


def rotated(folder: Path) -> Path:
    turned = (np.rot90(picture(index), -1).copy() for index in range(8))
    return write(folder / "rotated.mp4", turned, prepare=lambda stream: stream.set_display_rotation(90))


def long_pixels(folder: Path) -> Path:
    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    return write(folder / "long.mp4", (picture(index)[:, ::2].copy() for index in range(8)), prepare=prepare)


def held(folder: Path) -> Path:
    """Four pictures, 2 frames each, as a file of a variable rate."""
    return write(folder / "held.mp4", (picture(2 * index) for index in range(4)), times=[0, 2, 4, 6])


def covered(folder: Path) -> Path:
    """A thumbnail track of one green frame before the film."""
    path = folder / "covered.mp4"
    with av.open(str(path), "w") as container:
        cover, film = container.add_stream("mjpeg", rate=RATE), container.add_stream("libx264", rate=RATE)
        for stream in (cover, film):
            stream.height, stream.width = SIZE
        cover.pix_fmt, film.pix_fmt = "yuvj420p", "yuv420p"
        green = np.zeros((*SIZE, 3), np.uint8) + np.array([0, 200, 0], np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(green, format="rgb24")))
        for index in range(8):
            container.mux(film.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux([*cover.encode(None), *film.encode(None)])
    return path


def ten_bits(folder: Path) -> Path:
    return write(folder / "deep.mkv", map(picture, range(8)), pixel_format="yuv420p10le")


def transparent(folder: Path) -> Path:
    """The right half is transparent, and hides green."""
    pictures = []
    for index in range(8):
        pixels = np.dstack([np.full(SIZE, 255, np.uint8), picture(index)])
        pixels[:, SIZE[1] // 2 :] = 0, 0, 200, 0
        pictures.append(pixels)
    return write(folder / "cut-out.mov", pictures, "qtrle", "argb", layout="argb")


def untimed(folder: Path) -> Path:
    return write(folder / "untimed.h264", map(picture, range(8)))


def animated(folder: Path, ending: str) -> Path:
    path = folder / f"animated{ending}"
    first, *others = (Image.fromarray(picture(index)) for index in range(8))
    first.save(path, save_all=True, append_images=others, duration=125, lossless=ending == ".webp")
    return path


def of_ending(folder: Path, ending: str, codec: str) -> Path:
    return write(folder / f"film{ending}", map(picture, range(8)), codec, rate=25 if codec == "mpeg1video" else RATE)


def high_range(folder: Path) -> Path:
    """White and black in PQ: 203 and 0 cd/m2."""
    white, pixels = round(0.5807 * 65535), np.zeros((*SIZE, 3), np.uint16)
    pixels[:, : SIZE[1] // 2] = white

    def prepare(stream: av.VideoStream) -> None:
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = 16, 9, 9

    return write(folder / "high.mkv", [pixels] * 8, pixel_format="yuv420p10le", prepare=prepare, layout="rgb48le")
