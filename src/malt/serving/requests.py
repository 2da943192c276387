"""What a visitor asks for, checked against the model and the limits, and the session that begins with it."""

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel

from malt.env.named_policies import named_policy, policy_names
from malt.errors import UsageError
from malt.media.pixels import to_tensor
from malt.rollouts.base import ActionPolicy, Segment
from malt.serving.limits import Limits
from malt.serving.schemas import VideoRequest
from malt.serving.uploads import Wanted
from malt.sessions.kept_memories import keep
from malt.sessions.prompts import read_lines, total_frames
from malt.sessions.session import Session
from malt.sessions.size import session_size

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

DEFAULT_NUM_FRAMES = 256
MOST_SECONDS = 1e9
DRAWN_SEEDS = 2**31
MOST_CHARACTER = 256  # frames
CHARACTER = "character"  # as its moment is called


@dataclass(frozen=True)
class GenerationRequest:
    """A request that can be met, with nothing left to chance or to the model's own.

    size: (height, width) of the frames. frame_rate: frames a second of the file. remarks: what its visitor is told.
    """

    request: VideoRequest
    size: tuple[int, int]
    num_frames: int
    frame_rate: float
    seed: int
    remarks: tuple[str, ...] = ()

    @property
    def size_text(self) -> str:
        """Width x height, as the requests say it."""
        return f"{self.size[1]}x{self.size[0]}"

    @property
    def kept(self) -> dict[str, object]:
        """The request as it is kept, to be met in the same way once more."""
        settled = {"size": self.size_text, "width": None, "height": None, "model": None, "seed": self.seed}
        unknown = set(self.request.model_extra or {})
        return self.request.model_copy(update=settled).model_dump(exclude=unknown)


class RequestValidator:
    """Checks what is asked of one model, and begins it.

    aliases: names by which the model may be asked for besides its own; "*" is any.
    """

    def __init__(self, pipe: "VideoPipeline", name: str, limits: Limits, aliases: Sequence[str] = ()) -> None:
        self.pipe, self.name, self.limits, self.aliases = pipe, name, limits, tuple(aliases)

    def validate(self, request: VideoRequest, *, streams: bool = False, steered: bool = False) -> GenerationRequest:
        """What a request amounts to; `streams` is for one that is sent as it is made, `steered` by hand.

        Raises:
            UsageError: it cannot be met.
        """
        self.check_model(request.model)
        for text in (request.prompt, request.negative_prompt or ""):
            self.limits.check_prompt(text)
        self.limits.check_steps(request.num_inference_steps)
        wanted = self._wanted_size(request)
        size = self._fitting(wanted)
        self.limits.check_session(session_size(self.pipe, *size))
        self._check_driver(request, steered)
        frame_rate = request.fps or self.pipe.frame_rate
        remarks = [*unknown_fields(request), *self.remarks(request.prompt)]
        if size != wanted:
            remarks.append(
                f"frames of {wanted[1]}x{wanted[0]} are not made here; this video has the nearest, {size[1]}x{size[0]}"
            )
        seed = secrets.randbelow(DRAWN_SEEDS) if request.seed is None else request.seed
        num_frames = self._num_frames(request, size, frame_rate, streams)
        return GenerationRequest(request, size, num_frames, frame_rate, seed, tuple(remarks))

    def check_model(self, name: str | None) -> None:
        """Raise a `UsageError` for a model that this server does not have."""
        if name not in (None, self.name, *self.aliases) and "*" not in self.aliases:
            raise UsageError(f"there is no model {name!r} here; this server has {self.name}")

    def remarks(self, prompt: str) -> list[str]:
        """What is worth knowing of prompts before they become a video."""
        lines = read_lines(prompt) if prompt.strip() else ()
        return list(dict.fromkeys(remark for line in lines for remark in self.pipe.remarks(line.text)))

    def most_frames(self, size: tuple[int, int], num_steps: int | None, *, streams: bool = False) -> int:
        """How many frames of a size and so many denoising steps may be asked for."""
        own, steps = self.pipe.frame_size, cast(int, self.pipe.config.get("num_inference_steps") or num_steps or 1)
        cost = size[0] * size[1] / (own[0] * own[1]) * (num_steps or steps) / steps
        return self.limits.most_frames(streams, cost)

    def begin(self, generation: GenerationRequest) -> Session:
        """A session in which nothing has been made. It uses the model: have it done on the computing thread.

        Raises:
            UsageError: the prompt or the settings do not fit the model.
        """
        request = generation.request
        return Session.begin(
            self.pipe,
            request.prompt if request.prompt.strip() or not self.pipe.action_names else "",
            seed=generation.seed,
            num_frames=generation.num_frames,
            frame_rate=generation.frame_rate,
            height=generation.size[0],
            width=generation.size[1],
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            negative_prompt=request.negative_prompt or None,
        )

    def driver(self, generation: GenerationRequest, start: int = 0) -> ActionPolicy | None:
        """What acts from frame `start` on; None for models that take no actions."""
        if generation.request.driver is None:
            return None
        names, rate, seed = self.pipe.action_names, self.pipe.frame_rate, generation.seed
        return named_policy(generation.request.driver, names, frame_rate=rate, seed=seed, start=start)

    def wanted(self, generation: GenerationRequest) -> Wanted:
        """How the first frames of a video have to be."""
        fewest = self.pipe.codec.frames_of(1, first=True)
        return Wanted(generation.size, generation.frame_rate, fewest, max(fewest, generation.num_frames))

    def absorb(self, session: Session, frames: UInt8[np.ndarray, "t h w 3"]) -> Iterator[Segment]:
        """The segments that given frames become."""
        given = to_tensor(frames)
        done = given.new_zeros(len(given), len(self.pipe.action_names)) if self.pipe.action_names else None
        return session.prefill(given, done)

    def wanted_character(self, size: tuple[int, int]) -> Wanted:
        """How the frames of a character have to be: a segment at least, so that there is something to remember."""
        fewest = self.pipe.codec.frames_of(self.pipe.transformer.segment_frames, first=True)
        return Wanted(size, self.pipe.frame_rate, fewest, max(fewest, MOST_CHARACTER))

    def remember(self, session: Session, generation: GenerationRequest, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Let a video of which there is nothing yet remember given frames, without having shown them.

        Raises:
            UsageError: the model has no memory.
        """
        seen = self.begin(generation)
        for _ in self.absorb(seen, frames):
            pass
        kept = keep(session.state.kept, CHARACTER, seen.state.here, session.max_kept_bytes)
        session.state = replace(session.state, kept=kept)
        session.recall(CHARACTER, with_context=False)

    def _num_frames(self, request: VideoRequest, size: tuple[int, int], frame_rate: float, streams: bool) -> int:
        most = self.most_frames(size, request.num_inference_steps, streams=streams)
        if request.num_frames is not None and request.seconds is not None:
            raise UsageError("both num_frames and seconds were given; give one of them")
        lines = read_lines(request.prompt) if request.prompt.strip() else ()
        num_frames = request.num_frames or (total_frames(lines, frame_rate) if lines else None)
        if request.seconds is not None:
            num_frames = frames_in(request.seconds, frame_rate)
        if num_frames is None:
            num_frames = most if streams else min(most, DEFAULT_NUM_FRAMES)
        self.limits.check_frames(num_frames, most)
        return num_frames

    def _wanted_size(self, request: VideoRequest) -> tuple[int, int]:
        if (request.width is None) != (request.height is None) or (request.size and request.width):
            raise UsageError("give size, or both width and height")
        if request.width and request.height:
            return request.height, request.width
        return self.pipe.frame_size if request.size is None else _read_size(request.size)

    def _fitting(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """The nearest size of about the same shape that the model can make and this server grants."""
        unit = self.pipe.codec.space_compression
        rows, columns = (unit * patch for patch in self.pipe.transformer.patch_size)
        most = self.limits.largest(self.pipe.frame_size)
        scale = min(1.0, math.sqrt(most / (wanted[0] * wanted[1])))
        height = max(rows, int(min(wanted[0] * scale, most // columns)) // rows * rows)
        width = max(columns, int(min(wanted[1] * scale, most // height)) // columns * columns)
        return height, width

    def _check_driver(self, request: VideoRequest, steered: bool) -> None:
        names = self.pipe.action_names
        if names and request.driver is None and not steered:
            raise UsageError(
                f"this model acts ({', '.join(names)}); say what drives it: {' or '.join(policy_names(names))}"
            )
        if request.driver is not None and not names:
            raise UsageError("this model takes no actions; leave driver out")
        if request.driver is not None:
            named_policy(request.driver, names, frame_rate=self.pipe.frame_rate)


def frames_in(seconds: float, frame_rate: float) -> int:
    """How many frames last so long, at least one."""
    return max(1, round(min(seconds, MOST_SECONDS) * frame_rate))


def unknown_fields(request: BaseModel) -> list[str]:
    """Names the fields of a request that mean nothing here."""
    unknown = ", ".join(sorted(request.model_extra or {}))
    return [f"this server does not know the fields {unknown}; they were left out"] if unknown else []


def _read_size(size: str) -> tuple[int, int]:
    width, height = size.split("x")
    return int(height), int(width)
