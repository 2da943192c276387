"""What a visitor asks for, checked against the model and the limits, and the session that begins with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from malt.errors import UsageError
from malt.media.pixels import to_tensor
from malt.rollouts.base import ActionPolicy, Segment
from malt.serving.limits import Limits
from malt.serving.schemas import VideoRequest
from malt.serving.uploads import Wanted
from malt.sessions.action_policies import build_policy
from malt.sessions.prompts import read_lines, total_frames
from malt.sessions.session import Session
from malt.sessions.size import session_size

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

DEFAULT_NUM_FRAMES = 256
MOST_SECONDS = 1e9


@dataclass(frozen=True)
class GenerationRequest:
    """A request that can be met: size is (height, width) of the frames."""

    request: VideoRequest
    size: tuple[int, int]
    num_frames: int

    @property
    def size_text(self) -> str:
        """Width x height, as the requests say it."""
        return f"{self.size[1]}x{self.size[0]}"


class RequestValidator:
    """Checks what is asked of one model, and begins it."""

    def __init__(self, pipe: "VideoPipeline", name: str, limits: Limits) -> None:
        self.pipe, self.name, self.limits = pipe, name, limits

    def validate(self, request: VideoRequest, *, streams: bool = False, steered: bool = False) -> GenerationRequest:
        """What a request amounts to; `streams` is for one that is sent as it is made, `steered` by hand.

        Raises:
            UsageError: it cannot be met.
        """
        if request.model not in (None, self.name):
            raise UsageError(f"there is no model {request.model!r} here; this server has {self.name}")
        self.limits.check_prompt(request.prompt)
        self.limits.check_steps(request.num_inference_steps)
        size = self.pipe.frame_size if request.size is None else _read_size(request.size)
        self.limits.check_size(size[1], size[0], self.pipe.frame_size)
        self.limits.check_session(session_size(self.pipe, *size))
        self._check_driver(request, steered)
        return GenerationRequest(request, size, self._num_frames(request, streams))

    def begin(self, generation: GenerationRequest) -> Session:
        """A session in which nothing has been made. It uses the model: have it done on the computing thread.

        Raises:
            UsageError: the prompt or the settings do not fit the model.
        """
        request = generation.request
        return Session.begin(
            self.pipe,
            request.prompt if request.prompt.strip() or not self.pipe.action_names else "",
            seed=request.seed,
            num_frames=generation.num_frames,
            height=generation.size[0],
            width=generation.size[1],
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
        )

    def driver(self, generation: GenerationRequest, start: int = 0) -> ActionPolicy | None:
        """What acts from frame `start` on; None for models that take no actions."""
        if generation.request.driver is None:
            return None
        names, rate, seed = self.pipe.action_names, self.pipe.frame_rate, generation.request.seed
        return build_policy(generation.request.driver, names, frame_rate=rate, seed=seed, start=start)

    def wanted(self, generation: GenerationRequest) -> Wanted:
        """How the first frames of a video have to be."""
        fewest = self.pipe.codec.frames_of(1, first=True)
        return Wanted(generation.size, self.pipe.frame_rate, fewest, max(fewest, generation.num_frames))

    def absorb(self, session: Session, frames: UInt8[np.ndarray, "t h w 3"]) -> Iterator[Segment]:
        """The segments that given frames become."""
        given = to_tensor(frames)
        done = given.new_zeros(len(given), len(self.pipe.action_names)) if self.pipe.action_names else None
        return session.prefill(given, done)

    def _num_frames(self, request: VideoRequest, streams: bool) -> int:
        most = self.limits.stream_frames if streams else self.limits.frames
        if request.num_frames is not None and request.seconds is not None:
            raise UsageError("both num_frames and seconds were given; give one of them")
        lines = read_lines(request.prompt) if request.prompt.strip() else ()
        num_frames = request.num_frames or (total_frames(lines, self.pipe.frame_rate) if lines else None)
        if request.seconds is not None:
            num_frames = max(1, round(min(request.seconds, MOST_SECONDS) * self.pipe.frame_rate))
        if num_frames is None:
            num_frames = most if streams else min(most, DEFAULT_NUM_FRAMES)
        self.limits.check_frames(num_frames, most)
        return num_frames

    def _check_driver(self, request: VideoRequest, steered: bool) -> None:
        names = self.pipe.action_names
        if names and request.driver is None and not steered:
            raise UsageError(f"this model acts ({', '.join(names)}); say what drives it: cruise or weave")
        if request.driver is not None and not names:
            raise UsageError("this model takes no actions; leave driver out")
        if request.driver is not None:
            build_policy(request.driver, names, frame_rate=self.pipe.frame_rate, seed=request.seed, start=0)


def _read_size(size: str) -> tuple[int, int]:
    width, height = size.split("x")
    return int(height), int(width)
