"""What the page fetches: the scene as it changes, any frame that was made, and the videos as files."""

import asyncio
import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from malt.errors import MaltError, UsageError
from malt.serving.deadlines import deliver
from malt.sessions.storage import save_session
from malt.studio.take import Take
from malt.studio.visitor import Visitor
from malt.studio.visitors import Studio

CHUNK = 64 * 1024
PAUSE = 0.05  # seconds between two scenes, at least
UNKNOWN_VISIT = 4404


class Look(BaseModel):
    """The frame that is seen."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["look"]
    frame: int = Field(ge=0)


class Steer(BaseModel):
    """How a visitor steers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    type: Literal["steer"]
    steering: float
    throttle: float


class Choice(BaseModel):
    """Work on a take, or delete it."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["choose", "drop"]
    take: int


Event = Annotated[Look | Steer | Choice, Field(discriminator="type")]
EVENT: TypeAdapter[Look | Steer | Choice] = TypeAdapter(Event)


def studio_routes(studio: Studio) -> APIRouter:
    """The routes under /studio; the key of a visit is part of every path."""
    router = APIRouter(prefix="/studio/{key}", include_in_schema=False)

    def find(key: str, number: int) -> Take:
        try:
            return studio.find(key).takes[number]
        except (MaltError, KeyError) as error:
            raise HTTPException(404, "there is no such take") from error

    @router.websocket("")
    async def watch(socket: WebSocket, key: str) -> None:
        await socket.accept()
        try:
            visitor = studio.find(key)
        except MaltError as error:
            await socket.close(UNKNOWN_VISIT, str(error))
            return
        await _Watching(socket, studio, visitor).run()

    @router.get("/{number}/{revision}/{frame}.jpg")
    def strip(key: str, number: int, revision: int, frame: int) -> Response:
        take = find(key, number)
        if revision != take.revision:
            raise HTTPException(404, "the take was cut since")
        try:
            found = take.strip(frame)
        except UsageError as error:
            raise HTTPException(404, str(error)) from error
        about = {"X-Start": str(found.start), "X-Count": str(found.length), "Cache-Control": "private, max-age=3600"}
        return Response(found.jpeg, media_type="image/jpeg", headers=about)

    @router.get("/{number}/video.mp4")
    def video(key: str, number: int) -> Response:
        take = find(key, number)
        size = take.kept.segment_end.byte
        if not size:
            raise HTTPException(404, "there is nothing yet of this take")
        about = {"Content-Length": str(size), **_as_file(f"malt-take-{number}.mp4")}
        return StreamingResponse(_beginning(take.path, size), media_type="video/mp4", headers=about)

    @router.get("/{number}/session.zip")
    def session(key: str, number: int) -> Response:
        take = find(key, number)
        if not take.made:
            raise HTTPException(404, "there is nothing yet of this take")
        return Response(_zipped(take), media_type="application/zip", headers=_as_file(f"malt-take-{number}.zip"))

    return router


class _Watching:
    """One page that watches a visit: it hears the scene when that has changed, never more than it takes."""

    def __init__(self, socket: WebSocket, studio: Studio, visitor: Visitor) -> None:
        self._socket, self._studio, self._visit = socket, studio, visitor
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        self._changed.set()

    async def run(self) -> None:
        """Until the page is gone or the studio closes."""
        self._visit.watch(self._ring)
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen())
                await self._send()
                listening.cancel()
        except* (WebSocketDisconnect, OSError, RuntimeError):
            pass
        finally:
            self._visit.unwatch(self._ring)
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(1001, "the studio has closed")

    def _ring(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _send(self) -> None:
        while not (self._studio.is_closing or self._visit.is_over):
            with suppress(TimeoutError):  # rates and memory change by themselves
                await asyncio.wait_for(self._changed.wait(), 1.0)
            self._changed.clear()
            await deliver(self._socket.send_json, self._visit.scene(), self._studio.limits.stall_seconds)
            await asyncio.sleep(PAUSE)

    async def _listen(self) -> None:
        while True:
            text = await self._socket.receive_text()
            try:
                event = EVENT.validate_json(text)
                if isinstance(event, Look):
                    self._visit.job.look(event.frame)
                elif isinstance(event, Steer):
                    self._visit.steer(event.steering, event.throttle)
                elif event.type == "choose":
                    await asyncio.to_thread(self._visit.choose, event.take)
                else:
                    await asyncio.to_thread(self._visit.drop, event.take)
            except ValidationError:
                self._complain("the page said something that the studio does not understand; load it again")
            except MaltError as error:
                self._complain(str(error))

    def _complain(self, sentence: str) -> None:
        self._visit.problem = sentence
        self._visit.notify()


def _as_file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _beginning(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size and (chunk := file.read(min(size, CHUNK))):
            size -= len(chunk)
            yield chunk


def _zipped(take: Take) -> bytes:
    """The video and its session, as `malt resume` takes them once they are unpacked."""
    kept = take.kept
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(packed, "w") as archive:
        folder = Path(name) / "session"
        state = kept.state
        save_session(folder, replace(state, notes=state.notes | {"shown": kept.segment_end.frame}))
        archive.writestr(f"take-{take.number}.mp4", b"".join(_beginning(take.path, kept.segment_end.byte)))
        for file in folder.iterdir():
            archive.write(file, f"take-{take.number}.session/{file.name}")
    return packed.getvalue()
