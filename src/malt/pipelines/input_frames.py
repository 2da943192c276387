"""The first image or video of a call, in any form that diffusers' pipelines take, as frames in [-1, 1].

Pillow images; arrays (h, w, 3), (t, h, w, 3), (b, t, h, w, 3); tensors (3, h, w), (t, 3, h, w), (b, t, 3, h, w); and
lists of them. A Pillow image is turned upright and cut to the size of the video, as one from a file is. Bytes count from
0 to 255 and floats from 0 to 1, as what a pipeline makes; floats below 0 say that they count from -1 to 1, as the frames
of a segment do.
"""

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from malt.errors import UsageError
from malt.media.images import fit
from malt.wording import counted

Picture = Image.Image | np.ndarray | Tensor
Pictures = Picture | Sequence[Picture]
Videos = np.ndarray | Tensor | Sequence[Picture] | Sequence[Sequence[Picture]]


def read_images(image: Pictures, size: tuple[int, int], num_prompts: int, batch: int) -> Float[Tensor, "b 3 h w"]:
    """One image for all `batch` videos, for each prompt or for each video, in this (height, width).

    Raises:
        UsageError: it is no image, of another size, or there are not as many as videos.
    """
    frames = _normalized(_stack(image, size, "image"), size, "image")
    if frames.ndim > 4:
        raise UsageError(f"the image has the shape {tuple(frames.shape)}; give one image, or a list with one a video")
    return _one_each(frames if frames.ndim == 4 else frames[None], num_prompts, batch, "images")


def read_videos(video: Videos, size: tuple[int, int], num_prompts: int, batch: int) -> Float[Tensor, "b t 3 h w"]:
    """One video for all `batch` videos to go on from, for each prompt or for each video, in this (height, width).

    Raises:
        UsageError: it is no video, of another size, or there are not as many as videos.
    """
    frames = _normalized(_stack(video, size, "video"), size, "video")
    if not 4 <= frames.ndim <= 5:
        raise UsageError(f"the video has the shape {tuple(frames.shape)}; give its frames as a list or (t, 3, h, w)")
    return _one_each(frames if frames.ndim == 5 else frames[None], num_prompts, batch, "videos")


def _is_many(given: Videos | Pictures) -> "TypeGuard[Sequence[Picture] | Sequence[Sequence[Picture]]]":
    return isinstance(given, Sequence) and not isinstance(given, str)


def _stack(given: Videos | Pictures, size: tuple[int, int], what: str) -> Float[Tensor, "... 3 h w"]:
    """Whatever was given as one tensor, of bytes or floats."""
    if _is_many(given):
        if not given:
            raise UsageError(f"the {what} is an empty list; leave it out, or give pictures")
        parts = [_stack(part, size, what) for part in given]
        if len({(part.shape, part.dtype) for part in parts}) > 1:
            raise UsageError(f"the pictures of the {what} differ in size or kind; give all of them alike")
        return torch.stack(parts)
    if isinstance(given, Image.Image):
        return torch.tensor(fit(ImageOps.exif_transpose(given), size)).movedim(-1, 0)
    if isinstance(given, np.ndarray) and given.ndim >= 3 and given.shape[-1] == 3:
        return rearrange(torch.from_numpy(np.require(given, requirements=["C", "W"])), "... h w c -> ... c h w")
    if isinstance(given, Tensor) and given.ndim >= 3 and given.shape[-3] == 3:
        return given
    shape = f" of the shape {tuple(given.shape)}" if isinstance(given, np.ndarray | Tensor) else ""
    kind = type(given).__name__
    raise UsageError(f"the {what} is {kind}{shape}; give Pillow images, arrays (h, w, 3) or tensors (3, h, w)")


def _normalized(frames: Tensor, size: tuple[int, int], what: str) -> Float[Tensor, "... 3 h w"]:
    """Frames in [-1, 1], whatever they were counted in."""
    height, width = size
    if tuple(frames.shape[-2:]) != size:
        raise UsageError(f"got first frames of {frames.shape[-1]}x{frames.shape[-2]}; this video is {width}x{height}")
    if frames.dtype == torch.uint8:
        return frames.float() / 127.5 - 1
    if not frames.is_floating_point():
        raise UsageError(f"the {what} holds {str(frames.dtype).removeprefix('torch.')}; give bytes (uint8) or floats")
    low, high = frames.float().aminmax()
    if not (low >= -1 and high <= 1):
        raise UsageError(
            f"the {what} has values from {low:.4g} to {high:.4g}; give floats from 0 to 1, or bytes (uint8)"
        )
    return frames.float() if low < 0 else frames.float() * 2 - 1


def _one_each(frames: Tensor, num_prompts: int, batch: int, what: str) -> Tensor:
    if len(frames) not in (1, num_prompts, batch):
        raise UsageError(f"got {len(frames)} first {what} for {counted(batch, 'video')}; give one, or one for each")
    return frames.repeat_interleave(batch // len(frames), dim=0)
