"""Cuts those who hold a place and do nothing with it: bodies that do not arrive, answers that are not read."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SLOWEST = 16 * 1024  # bytes a second of a body, once it has had its time to begin


Sent = TypeVar("Sent")


class StallError(OSError):
    """Somebody has taken nothing, or said nothing, for too long."""


async def deliver(send: Callable[[Sent], Awaitable[None]], message: Sent, seconds: float) -> None:
    """Send something to a reader.

    Raises:
        StallError: it was not taken in time.
    """
    try:
        await asyncio.wait_for(send(message), seconds)
    except TimeoutError as error:
        raise StallError(f"nothing was read for {seconds:g} s") from error


class DeadlineMiddleware:
    """Gives a request's body and the reading of its answer a time.

    A body may take `seconds`, and a second more for each 16 KiB; then the request is refused (408). An answer of which
    nothing is taken for `seconds` breaks off.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, against the clock."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, arrived, is_whole = time.monotonic(), 0, False

        async def receive_in_time() -> Message:
            nonlocal arrived, is_whole
            if is_whole:
                return await receive()
            left = begun + self._seconds + arrived / SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.01))
            except TimeoutError as error:
                raise HTTPException(408, "the request did not arrive in time; send it faster") from error
            arrived += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            return message

        async def send_in_time(message: Message) -> None:
            await deliver(send, message, self._seconds)

        await self._app(scope, receive_in_time, send_in_time)
