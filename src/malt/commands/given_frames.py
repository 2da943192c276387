"""The frames that a generated video begins with: an image held for a moment, or a video, read piece by piece."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from malt.errors import UsageError
from malt.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from malt.sessions.pipeline import SessionPipeline

Piece = tuple["Tensor", "Tensor | None"]  # frames (t, 3, h, w) in [-1, 1], and what is done in them (t, a)


def given_image(pipe: "SessionPipeline", path: Path, size: tuple[int, int]) -> "Iterator[Piece]":
    """An image as the first frames of a video of a size (height, width): as many as a first latent frame has.

    Raises:
        UsageError: it cannot be read.
    """
    from malt.media.images import read_image
    from malt.media.pixels import to_tensor

    picture = to_tensor(read_image(path, size)[None])
    return iter([_with_actions(pipe, picture.expand(pipe.codec.frames_of(1, first=True), -1, -1, -1))])


def count_given(pipe: "SessionPipeline", path: Path) -> int:
    """How many frames a video gives to one that begins with it: at the model's rate, those that fill latent frames.

    Raises:
        UsageError: it cannot be read to its end, or does not fill the first latent frame.
    """
    from malt.codecs.base import most_latents
    from malt.media.video_reader import count_frames

    found, fewest = count_frames(path, pipe.frame_rate), pipe.codec.frames_of(1, first=True)
    if found < fewest:
        raise UsageError(f"the first video has {counted(found, 'frame')}; give at least {fewest}")
    return pipe.codec.frames_of(most_latents(pipe.codec, found, first=True), first=True)


def given_video(pipe: "SessionPipeline", path: Path, num_frames: int, size: tuple[int, int]) -> "Iterator[Piece]":
    """The first `num_frames` frames of a video, as `count_given` counts them, segment after segment, in a size (height, width).

    Whole segments are counted from the end, as a rollout does; memory holds one of them.
    """
    import numpy as np

    from malt.codecs.base import most_latents
    from malt.media.pixels import to_tensor
    from malt.media.video_reader import read_video

    codec, segment = pipe.codec, pipe.transformer.segment_frames
    num_latents = most_latents(codec, num_frames, first=True)
    ends = [
        codec.frames_of(end, first=True) for end in range(num_latents % segment or segment, num_latents + 1, segment)
    ]
    frames = _single_frames(batch.pixels for batch in read_video(path, size, fps=pipe.frame_rate, batch=16))
    for begin, end in pairwise([0, *ends]):
        pixels = np.stack([next(frames) for _ in range(end - begin)])
        yield _with_actions(pipe, to_tensor(pixels))


def _single_frames(batches: "Iterable[np.ndarray]") -> "Iterator[np.ndarray]":
    for batch in batches:
        yield from batch


def _with_actions(pipe: "SessionPipeline", frames: "Tensor") -> "Piece":
    """Given frames say nothing of what was done in them, so nothing was."""
    return frames, frames.new_zeros(len(frames), len(pipe.action_names)) if pipe.action_names else None
