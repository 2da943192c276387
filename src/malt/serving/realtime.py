"""The WebSocket: JSON events both ways, and the video as binary pieces of fragmented MP4 while it is made.

A client sends start, prompt, action, memory, ping and stop; it hears started, segment (a binary piece follows), kept, done,
pong and error.
"""

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.types import Message

from malt.errors import MaltError, UsageError
from malt.serving.deadlines import StallError, deliver
from malt.serving.engine.job import JobState
from malt.serving.moments import MemoryChange
from malt.serving.mp4_stream import Fragment
from malt.serving.schemas import VideoRequest
from malt.serving.streams import LiveStream, StreamOpener

IDLE_SECONDS = 600.0  # without a video and without a word
TOO_SLOW = 1008  # RFC 6455: the server's rules were not kept
MOST_ACTION = 100.0
MAX_REASON = 120  # bytes; RFC 6455 has room for 123


class Start(VideoRequest):
    """Begin a video; without num_frames or seconds it goes on until it is stopped."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    type: Literal["start"]


class Say(BaseModel):
    """Change the prompt from the next segment on."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["prompt"]
    prompt: str


class Act(BaseModel):
    """Do this from the next segment on; `frame` is the one that is seen, close to which the video is then made."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    type: Literal["action"]
    actions: dict[str, Annotated[float, Field(ge=-MOST_ACTION, le=MOST_ACTION)]]
    frame: int | None = Field(None, ge=0)


class Remember(MemoryChange):
    """Keep, recall or forget a moment before the next segment; answered by `kept`, with all that is kept."""

    type: Literal["memory"]


class Signal(BaseModel):
    """`ping` is answered by `pong`, `stop` ends the video at once."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["ping", "stop"]


AnyEvent = Start | Say | Act | Remember | Signal
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="type")])


class RealtimeConnection:
    """One client's WebSocket, from its opening to its end."""

    def __init__(self, socket: WebSocket, stream_opener: StreamOpener) -> None:
        self._socket, self._stream_opener = socket, stream_opener
        self._stall_seconds = stream_opener.validator.limits.stall_seconds
        self._live: LiveStream | None = None
        self._showing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # an event and its fragment stay together
        self._answering = asyncio.Lock()

    async def run(self) -> None:
        """Answer events until the client leaves, stalls or says nothing for long."""
        await self._socket.accept()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self._listen()
        except* StallError as errors:
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(TOO_SLOW, str(errors.exceptions[0])[:MAX_REASON])
        except* (WebSocketDisconnect, OSError):
            pass
        finally:
            if self._live is not None:
                self._live.close()

    async def drain(self) -> None:
        """Wait until what was asked has been answered, and the last video's end told, if there was one."""
        async with self._answering:  # a video may be about to begin
            pass
        if self._showing is not None:
            await asyncio.wait([self._showing])

    async def _listen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await self._socket.receive()
            except TimeoutError as error:
                if self._live is None or self._live.job.is_over:
                    raise StallError(f"nothing was said for {IDLE_SECONDS:g} s") from error
                continue
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            await self._answer(message)

    async def _answer(self, message: Message) -> None:
        try:
            text = message.get("text")
            if text is None:
                raise UsageError("got a binary message; send events as JSON text")
            async with self._answering:
                await self._act(_read_event(text))
        except StallError:
            raise
        except MaltError as error:
            await self._send(type="error", message=str(error))

    async def _act(self, event: AnyEvent) -> None:
        if isinstance(event, Start):
            await self._start(event)
        elif event.type == "ping":
            await self._send(type="pong")
        elif self._live is None or self._live.job.is_over:
            raise UsageError("there is no video; send start first")
        elif isinstance(event, Say):
            self._live.say(event.prompt)
        elif isinstance(event, Remember):
            kept = await self._live.change_memory(event)
            await self._send(type="kept", moments=[moment.model_dump() for moment in kept.data])
        elif isinstance(event, Act):
            self._live.act(event.actions, event.frame)
        else:
            self._live.stop()

    async def _start(self, event: Start) -> None:
        if self._live is not None and not self._live.job.is_over:
            raise UsageError("a video is being made already; stop it first, or open another connection")
        if self._showing is not None:
            await self._showing
        validator = self._stream_opener.validator
        generation = validator.validate(VideoRequest(**event.model_dump(exclude={"type"})), streams=True, steered=True)
        self._live = await self._stream_opener.open(generation)
        await self._send(
            type="started",
            model=validator.name,
            size=generation.size_text,
            frame_rate=generation.frame_rate,
            seed=generation.seed,
            remarks=list(generation.remarks),
            actions=list(validator.pipe.action_names),
            num_frames=generation.num_frames,
            state=self._live.job.state.value,
        )
        self._showing = self._tasks.create_task(self._show(self._live))

    async def _show(self, live: LiveStream) -> None:
        """Send a video to its end, and say what that was."""
        try:
            while (fragment := await live.take()) is not None:
                await self._send(fragment, **_segment_event(fragment))
        finally:
            live.close()
        job = live.job
        if job.state == JobState.FAILED:
            await self._send(type="error", message=job.error)
        await self._send(type="done", state=job.state.value, num_frames=job.frames_made)

    async def _send(self, fragment: Fragment | None = None, **event: object) -> None:
        """Send an event, and the fragment that it speaks of."""
        async with self._turn:
            await deliver(self._socket.send_json, event, self._stall_seconds)
            if fragment is not None:
                await deliver(self._socket.send_bytes, fragment.data, self._stall_seconds)


def _read_event(text: str) -> AnyEvent:
    try:
        return EVENT.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"cannot read the event ({where or 'JSON'}: {first['msg']}); "
            "send a JSON object with type start, prompt, action, memory, ping or stop"
        ) from error


def _segment_event(fragment: Fragment) -> dict[str, object]:
    return {
        "type": "segment",
        "index": fragment.index,
        "start": fragment.start,
        "num_frames": fragment.num_frames,
        "prompt": fragment.prompt,
        "memory_bytes": fragment.memory_bytes,
        "bytes": len(fragment.data),
        "mime": fragment.mime,
    }
