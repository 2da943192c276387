"""What one server grants its visitors: how long, how large, how many; beyond it they are refused in a sentence."""

import math
from dataclasses import dataclass, fields

from malt.errors import UsageError
from malt.sessions.size import SessionSize
from malt.wording import counted

MEBIBYTE = 1024**2


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds, all above 0.

    session_bytes: of what a session keeps of its video. frames: of a video, given ones included. stream_frames: of a stream
    that is sent as it is made. work: of a video or stream, in frames of the model's own size and steps; None for as many as
    it may have frames. pixels: of a frame that is made, where the model's own size has fewer. steps: denoising
    steps. prompt_length: characters. running, waiting: videos and streams that take turns, and that wait for their place.
    together: of those that take turns, how many of one size go through one forward pass.
    stored, disk_bytes, keep_seconds: videos kept on disk, their bytes, and for how long. characters: that are kept.
    upload_bytes, upload_pixels (of a frame), upload_seconds, upload_frames, upload_decoded (pixels of all frames together),
    upload_reading (seconds that it takes to decode): of a first image or video. first_bytes: of the frames that it
    becomes. kept_bytes: of the moments that a video keeps by name. worlds: that there may be at once, forks included,
    and world_bytes: of all of them. world_batch: that go on in one forward pass. world_steps: of one world that may
    wait. world_seconds: after how long without a step a world is deleted. stall_seconds: how long a reader may take
    nothing, and a sender send next to nothing. pause_seconds: how long a viewer may want no more of a video that waits
    for him. quiet_seconds: after how long without a finished denoising step the server calls itself degraded. attempts:
    how often a video is begun or gone on with, where the server ends before it has made another segment.
    """

    session_bytes: int = 4 * 1024 * MEBIBYTE
    frames: int = 4096
    stream_frames: int = 100_000
    work: float | None = None
    pixels: int = 1
    steps: int = 100
    prompt_length: int = 4000
    running: int = 8
    together: int = 1
    waiting: int = 32
    stored: int = 1000
    characters: int = 100
    disk_bytes: int = 64 * 1024 * MEBIBYTE
    keep_seconds: float = math.inf
    upload_bytes: int = 64 * MEBIBYTE
    upload_pixels: int = 4096 * 4096
    upload_seconds: float = 600.0
    upload_frames: int = 20_000
    upload_decoded: int = 2**33
    upload_reading: float = 20.0
    first_bytes: int = 64 * MEBIBYTE
    kept_bytes: int = 64 * MEBIBYTE
    worlds: int = 64
    world_bytes: int = 1024 * MEBIBYTE
    world_batch: int = 16
    world_steps: int = 4
    world_seconds: float = 3600.0
    stall_seconds: float = 60.0
    pause_seconds: float = 600.0
    quiet_seconds: float = 60.0
    attempts: int = 3

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        for each in fields(self):
            if getattr(self, each.name) is not None and not getattr(self, each.name) > 0:
                raise UsageError(f"the limit {each.name} is {getattr(self, each.name)}; give a number above 0")

    def largest(self, own: tuple[int, int]) -> int:
        """How many pixels a frame may have, where the model's own size is (height, width)."""
        return max(self.pixels, own[0] * own[1])

    def check_session(self, size: SessionSize) -> None:
        """Raise a `UsageError` for a session that would keep more than is granted."""
        if size.most > self.session_bytes:
            raise UsageError(
                f"a session of this size keeps {size}; this server grants {self.session_bytes // MEBIBYTE} MiB, ask for "
                "smaller frames"
            )

    def check_steps(self, steps: int | None) -> None:
        """Raise a `UsageError` for more denoising steps than are granted."""
        if steps is not None and steps > self.steps:
            raise UsageError(f"asked for {steps} denoising steps; this server takes up to {self.steps}")

    def check_prompt(self, prompt: str) -> None:
        """Raise a `UsageError` for a prompt that is too long."""
        if len(prompt) > self.prompt_length:
            raise UsageError(f"the prompt has {len(prompt)} characters; give at most {self.prompt_length}")

    def most_frames(self, streams: bool, cost: float) -> int:
        """How many frames a video may have; `cost` is what one costs, measured in frames of the model's own size and steps."""
        frames = self.stream_frames if streams else self.frames
        return max(1, int(min(frames, (self.work or frames) / max(1.0, cost))))

    def check_frames(self, num_frames: int, most: int) -> None:
        """Raise a `UsageError` unless there are 1 to `most` frames."""
        if not 1 <= num_frames <= most:
            raise UsageError(
                f"asked for {counted(num_frames, 'frame')}; this server makes 1 to {most} of this size and so many steps"
            )
