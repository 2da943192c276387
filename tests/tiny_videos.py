"""Small videos in files, whose frames say which they are."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 6  # grey levels between one frame and the next


def grey(index: int, start: int = 0) -> int:
    """The grey level of a frame."""
    return start + STEP * index


def write_video(path: Path, num_frames: int, rate: int = 8, size: tuple[int, int] = (32, 32), start: int = 0) -> Path:
    """A video of `size` (height, width) in which frame n is evenly grey, `grey(n, start)`; H.264, or what the ending asks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, pixels = {".gif": ("gif", "rgb8"), ".webm": ("libvpx", "yuv420p")}.get(path.suffix, ("libx264", "yuv420p"))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for index in range(num_frames):
            picture = np.full((*size, 3), grey(index, start) % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_actions(video: Path, num_rows: int, header: str = "steering,throttle") -> Path:
    """Actions beside a video: row n is n and -n."""
    path = video.with_name(f"{video.stem}.actions.csv")
    path.write_text("\n".join([header, *(f"{n},{-n}" for n in range(num_rows))]) + "\n")
    return path
