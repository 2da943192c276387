"""The scene of a visit as it changes, over a WebSocket; and what the page says there: what is seen, and how one steers."""

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from malt.errors import MaltError
from malt.serving.deadlines import deliver
from malt.studio.scene import Scene, scene_of
from malt.studio.visitor import Visitor
from malt.studio.visitors import Studio

PAUSE = 0.03  # seconds between two scenes, at least
UNKNOWN_VISIT, CLOSED = 4404, 1001


class Look(BaseModel):
    """The frame that is seen."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["look"]
    frame: int = Field(ge=0)


class Steer(BaseModel):
    """How a visitor steers; by the number the page tells when it is followed. frame: the one that is seen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    type: Literal["steer"]
    steering: float
    throttle: float
    number: int = 0
    frame: int = Field(default=0, ge=0)


EVENT: TypeAdapter[Look | Steer] = TypeAdapter(Annotated[Look | Steer, Field(discriminator="type")])


def scene_routes(studio: Studio) -> APIRouter:
    """The routes by which a visit is watched; its key is part of every path."""
    router = APIRouter(prefix="/studio/{key}", include_in_schema=False)

    @router.get("")
    def scene(key: str) -> Scene:
        return scene_of(studio.find(key))

    @router.websocket("")
    async def watch(socket: WebSocket, key: str) -> None:
        await socket.accept()
        try:
            visitor = await asyncio.to_thread(studio.find, key)
        except MaltError as error:
            await socket.close(UNKNOWN_VISIT, str(error))
            return
        await _Watching(socket, studio, visitor).run()

    return router


class _Watching:
    """One page that watches a visit: it hears the scene when that has changed, never more than it takes."""

    def __init__(self, socket: WebSocket, studio: Studio, visitor: Visitor) -> None:
        self._socket, self._studio, self._visit = socket, studio, visitor
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        self._changed.set()

    async def run(self) -> None:
        """Until the page is gone or the studio closes."""
        self._visit.listeners.add(self._ring)
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen())
                await self._send()
                listening.cancel()
        except* (WebSocketDisconnect, OSError, RuntimeError):
            pass
        finally:
            self._visit.listeners.remove(self._ring)
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(CLOSED, "the studio has closed")

    def _ring(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _send(self) -> None:
        while not (self._studio.is_closing or self._visit.is_over):
            with suppress(TimeoutError):  # rates and memory change by themselves
                await asyncio.wait_for(self._changed.wait(), 1.0)
            self._changed.clear()
            await deliver(self._socket.send_json, scene_of(self._visit), self._studio.limits.stall_seconds)
            await asyncio.sleep(PAUSE)

    async def _listen(self) -> None:
        while True:
            text = await self._socket.receive_text()
            try:
                event = EVENT.validate_json(text)
                self._visit.job.look(event.frame)
                if isinstance(event, Steer):
                    await asyncio.to_thread(self._visit.steer, event.steering, event.throttle, event.number)
            except ValidationError:
                self._complain("the page said something that the studio does not understand; load it again")
            except MaltError as error:
                self._complain(str(error))

    def _complain(self, sentence: str) -> None:
        self._visit.problem = sentence
        self._visit.notify()
