"""Short clips of videos at random, for learning an autoencoder: the same step always draws the same clips."""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from malt.data.decoded_frames import MEMORY_BOUND, Video, decode_videos
from malt.data.video_folder import find_videos
from malt.errors import UsageError
from malt.wording import counted


class VideoClips:
    """Clips of `num_frames` frames from decoded videos, every place in them equally likely.

    Videos shorter than a clip are left out; `left_out` counts them.
    """

    def __init__(self, videos: Sequence[Video], num_frames: int, *, seed: int = 0, device: str = "cpu") -> None:
        self.videos = [video for video in videos if len(video) >= num_frames]
        self.left_out = len(videos) - len(self.videos)
        self.num_frames, self.seed, self.device = num_frames, seed, device
        if not self.videos:
            longest = max((len(video) for video in videos), default=0)
            raise UsageError(
                f"no video has the {num_frames} frames of a clip (the longest has {longest}); give longer videos or "
                "shorter clips"
            )
        self.ends = list(accumulate(len(video) - num_frames + 1 for video in self.videos))

    @classmethod
    def open(
        cls,
        folder: Path,
        size: tuple[int, int],
        num_frames: int,
        *,
        fps: float | None = None,
        seed: int = 0,
        device: str = "cpu",
        cache: Path | None = None,
        memory_bound: int = MEMORY_BOUND,
        log: Callable[[str], None] = print,
    ) -> "VideoClips":
        """Decode the videos of `folder`, cut to `size` (height, width), once; more than memory holds goes to `cache`.

        Raises:
            UsageError: there is no such folder, no video in it that can be read, or none as long as a clip.
        """
        found = find_videos(folder, log=log)
        videos = [*decode_videos(found, size, fps=fps, folder=cache, memory_bound=memory_bound, log=log).values()]
        clips = cls(videos, num_frames, seed=seed, device=device)
        if clips.left_out:
            log(f"left out {counted(clips.left_out, 'video')} of fewer than {num_frames} frames")
        return clips

    def __call__(self, step: int, count: int) -> Float[Tensor, "b t 3 h w"]:
        """The `count` clips of this step, in [-1, 1]; the step and the seed decide which."""
        draw = random.Random(self.seed * 7_919 + step)
        return self._clips([draw.randrange(self.ends[-1]) for _ in range(count)])

    def spread(self, count: int) -> Float[Tensor, "b t 3 h w"]:
        """Always the same `count` clips, evenly spread over the videos: what to measure on."""
        return self._clips([(2 * index + 1) * self.ends[-1] // (2 * count) for index in range(count)])

    def split(self, every: int = 10) -> tuple["VideoClips", "VideoClips"]:
        """Clips to learn from, and held-out clips: every `every`-th video, the same ones every time.

        The last `1 / every` of a single video is held out instead, with no frame in both.

        Raises:
            UsageError: what is left on one side is shorter than a clip.
        """
        if len(self.videos) == 1:
            cut = len(self.videos[0]) - max(len(self.videos[0]) // every, self.num_frames)
            return self._of([self.videos[0][:cut]]), self._of([self.videos[0][cut:]])
        every = min(every, len(self.videos))
        held_out = self.videos[every - 1 :: every]
        learned = [video for index, video in enumerate(self.videos) if index % every != every - 1]
        return self._of(learned), self._of(held_out)

    def _of(self, videos: list[Video]) -> "VideoClips":
        return VideoClips(videos, self.num_frames, seed=self.seed, device=self.device)

    def _clips(self, places: list[int]) -> Tensor:
        clips = []
        for place in places:
            video = bisect_right(self.ends, place)
            start = place - (self.ends[video - 1] if video else 0)
            clips.append(self.videos[video][start : start + self.num_frames])
        frames = torch.from_numpy(np.stack(clips)).to(self.device)
        return frames.permute(0, 1, 4, 2, 3).float().div_(127.5).sub_(1).contiguous()
