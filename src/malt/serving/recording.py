"""A session whose segments go to a file, and itself beside it, saved behind each of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import BaseModel
from torch import Tensor

from malt.errors import MaltError
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink, end_in_video
from malt.rollouts.base import ActionPolicy, Segment
from malt.serving.requests import GenerationRequest, RequestValidator
from malt.sessions.session import Session
from malt.sessions.storage import INDEX, DamagedSessionError, session_folder
from malt.sessions.video_binding import bind, check_bound

PARTED = "parted"  # among a session's notes: the video for which it has gone back to where the ways part


class Parting(BaseModel):
    """Where a copy of a video becomes another.

    frame: the first of which nothing is kept; the ways part at the border there or the last before it. prompt, seed: of
    what comes from there on, those of the copy where they are None. starts: the frame that `prompt` and `seed` hold from,
    where that is not where the ways part.
    """

    frame: int
    prompt: str | None = None
    seed: int | None = None
    starts: int | None = None


class Recording:
    """One video on its way to the disk."""

    def __init__(
        self, validator: RequestValidator, generation: GenerationRequest, session: Session, video: Path, scale: int
    ) -> None:
        self._validator, self._generation, self.session = validator, generation, session
        self._video, self._scale = video, scale
        self.first: UInt8[np.ndarray, "t h w 3"] | None = None
        self.character: UInt8[np.ndarray, "t h w 3"] | None = None
        self.parting: Parting | None = None
        self.sink = self._new_sink()
        self._driver: ActionPolicy | None = None

    def go_on(self) -> None:
        """Let the file go on where the session stands.

        Raises:
            MaltError: it is not the file of this session.
        """
        state, rate = self.session.state, self._generation.frame_rate
        self._scale = cast(int, state.notes["scale"])
        size = state.settings["height"], state.settings["width"]

        def end_of(frame: int) -> int:
            return end_in_video(self._video, frame, frame_rate=rate, scale=self._scale, size=size)

        check_bound(self._video, state.notes, end_of)
        frames = self.session.num_frames
        self.sink = VideoSink.go_on(self._video, frames, frame_rate=rate, scale=self._scale, size=size)

    def given(self) -> Iterator[Segment]:
        """What comes before anything is made: the segments that the first frames become, or the way back to a parting."""
        if self.parting is not None:
            self._part(self.parting)
        if self.character is not None:
            self._validator.remember(self.session, self._generation, self.character)
            self.character = None
        if self.first is not None:
            yield from self._validator.absorb(self.session, self.first)
            self.first = None
            self.save()
        self._driver = self._validator.driver(self._generation, self.session.num_frames)

    def drive(self, segment: Segment | None, num_frames: int) -> Float[Tensor, "b t a"]:
        """What is done in the next frames, for models that take actions."""
        assert self._driver is not None
        return self._driver(segment, num_frames)

    def write(self, segment: Segment) -> None:
        """Add a segment to the file."""
        self.sink.write(to_pixels(segment.frames[0]))
        self.save()

    def save(self) -> None:
        """Save the session where it stands; behind a segment that was cut, the one before it stays."""
        if self.first is None and self.session.num_frames == self.sink.num_frames:
            self.sink.sync()
            self.session.state = bind(self.session.state, self.sink.sha256_at(self.sink.num_frames))
            self.session.save(session_folder(self._video))

    def _new_sink(self) -> VideoSink:
        return VideoSink(self._video, frame_rate=self._generation.frame_rate, scale=self._scale, overwrite=True)

    def _part(self, parting: Parting) -> None:
        session = self.session
        session.rewind(min(parting.frame, session.num_frames))
        starts = session.num_frames if parting.starts is None else parting.starts
        if parting.prompt is not None:
            rate, length = self._generation.frame_rate, self._generation.num_frames
            session.schedule_prompts(parting.prompt, num_frames=length, frame_rate=rate, at=starts)
        if parting.seed is not None:
            session.state = session.state.seeded(parting.seed, starts)
        session.note(**{PARTED: self._video.parent.name})
        self.sink.close()
        if session.num_frames:
            self.go_on()
            self.sink.cut()
        else:
            self._video.unlink(missing_ok=True)
            self.sink = self._new_sink()
        self.parting = None
        self.save()


def continued(validator: RequestValidator, generation: GenerationRequest, video: Path, scale: int) -> Recording | None:
    """The recording of a video that was saved; None where it has to be made anew.

    Raises:
        MaltError: its session was made by another model.
    """
    if not ((session_folder(video) / INDEX).is_file() and video.is_file()):
        return None
    try:
        session = Session.load(session_folder(video), validator.pipe)
    except DamagedSessionError:
        return None
    recording = Recording(validator, generation, session, video, scale)
    try:
        recording.go_on()
    except MaltError:
        return None
    return recording
