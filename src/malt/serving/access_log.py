"""Says what came and what it was answered: a line for each request, without what it asked for, and a count of refusals."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from malt.serving.deadlines import StallError
from malt.serving.metrics import Metrics

log = logging.getLogger("malt.access")


class AccessLog:
    """The outermost layer of an application: it sees also what the others refuse."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let everything through, and note what becomes of it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun, status, size = time.monotonic(), 0, 0

        async def send_noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "websocket.close" and not status:
                status = 403
            size += len(message.get("body", b"")) + len(message.get("bytes") or b"")
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except StallError:
            status = 408  # there is nobody to be told; the connection is closed
        finally:
            if status >= 400:
                self._metrics.refused(status)
            client = (scope.get("client") or ("-", 0))[0]
            what = f"{scope.get('method', 'WEBSOCKET')} {scope['path']!r}"
            log.info("%s %s %s %d bytes %.3f s", client, what, status or "-", size, time.monotonic() - begun)
