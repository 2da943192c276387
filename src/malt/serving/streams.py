"""A session whose video goes to one reader while it is made, and ends when the reader leaves or stalls."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from malt.errors import UsageError
from malt.rollouts.base import Segment
from malt.serving.engine.channel import Channel
from malt.serving.engine.job import Job
from malt.serving.engine.worker import Worker
from malt.serving.metrics import Metrics
from malt.serving.moments import KeptMoments, MemoryChange, change_memory
from malt.serving.mp4_stream import Fragment, FragmentMaker
from malt.serving.requests import GenerationRequest, RequestValidator
from malt.sessions.action_policies import LivePolicy
from malt.sessions.session import Session

LEAD_SEGMENTS = 2  # how far a video that is steered may be ahead of what is seen of it


class LiveStream:
    """One reader's video in the making; `StreamOpener.open` makes these, and whoever has one has to `close` it."""

    def __init__(
        self,
        worker: Worker,
        validator: RequestValidator,
        metrics: Metrics,
        session: Session,
        generation: GenerationRequest,
        scale: int,
    ) -> None:
        self.generation, self._session = generation, session
        self._worker, self._metrics, self._limits = worker, metrics, validator.limits
        session.max_kept_bytes = self._limits.kept_bytes
        self._pieces = Channel[Fragment](worker.wake)
        self._maker = FragmentMaker(generation.frame_rate, scale)
        self._asked = time.monotonic()
        self._seen: int | None = None
        self._ahead = 0  # frames that the last segment had
        driver, names = validator.driver(generation), validator.pipe.action_names
        self._hand = LivePolicy(names) if names and driver is None else None
        self.job: Job = worker.start(
            session,
            generation.num_frames,
            self._put,
            driver=driver or self._hand,
            has_room=self._has_room,
            on_end=self._end,
        )

    def say(self, prompt: str) -> None:
        """Change what the video shows from the next segment on.

        Raises:
            UsageError: the prompt is empty or too long.
        """
        self._limits.check_prompt(prompt)
        self._session.set_prompt(prompt, frame_rate=self.generation.frame_rate)

    async def change_memory(self, asked: MemoryChange) -> KeptMoments:
        """Keep, recall or forget a moment between two segments.

        Raises:
            UsageError: there is no such name, or it cannot be kept.
        """
        return await asyncio.wrap_future(self._worker.do(lambda: change_memory(self._session, asked)))

    def act(self, actions: Mapping[str, float], seen: int | None = None) -> None:
        """Do this from the next segment on; once it is told which frame is `seen`, the video keeps close to that.

        Raises:
            UsageError: the model has no such action, or a driver acts already.
        """
        if self._hand is None:
            raise UsageError("this video is not steered; take a model that acts, and start without a driver")
        self._hand.hold(actions)
        self._seen = self._seen if seen is None else seen
        self._worker.wake()

    async def take(self) -> Fragment | None:
        """The next fragment; None when there is no more, and `job` says why."""
        return await self._pieces.take()

    def stop(self) -> None:
        """End the video; the segment in the making is given up."""
        self._worker.cancel(self.job)

    def close(self) -> None:
        """Let go of the video, wherever it stands."""
        self._pieces.close()
        self._worker.cancel(self.job)

    def _has_room(self) -> bool:
        lead = 0 if self._seen is None else self.job.frames_made - self._seen
        return self._pieces.has_room() and (not self._ahead or lead < LEAD_SEGMENTS * self._ahead)

    def _put(self, segment: Segment) -> None:
        self._ahead = segment.frames.shape[1]
        if segment.start == 0:
            self._metrics.first_piece(time.monotonic() - self._asked)
        self._metrics.segment(segment)
        self._pieces.put(self._maker.make(segment, self._session.state.prompts.at(segment.start)))

    def _end(self, job: Job) -> None:
        self._pieces.close()
        self._metrics.over("stream", job)


class StreamOpener:
    """Opens live videos on one worker."""

    def __init__(self, worker: Worker, validator: RequestValidator, metrics: Metrics, *, scale: int) -> None:
        self.validator, self._worker, self._metrics, self._scale = validator, worker, metrics, scale

    async def open(self, generation: GenerationRequest) -> LiveStream:
        """Begin a video.

        Raises:
            BusyError: there is no room.
            UsageError: the model cannot make it.
        """
        self._worker.check_room()
        session = await asyncio.wrap_future(self._worker.do_soon(lambda: self.validator.begin(generation)))
        return LiveStream(self._worker, self.validator, self._metrics, session, generation, self._scale)


class LiveResponse(StreamingResponse):
    """An HTTP answer that grows with the video: an MP4 without end, or until the frames that were asked for."""

    def __init__(self, live: LiveStream) -> None:
        super().__init__(iter(()), headers={"Cache-Control": "no-store"}, media_type="video/mp4")
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send fragments until there are no more or the reader is gone."""
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._live.close()
            for task in (sending, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending

    async def _send_all(self, send: Send) -> None:
        begin = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(begin)
        while (fragment := await self._live.take()) is not None:
            await send({"type": "http.response.body", "body": fragment.data, "more_body": True})
        if not self._live.job.error:  # a broken video ends as a broken answer
            await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    """Wait until the reader is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
