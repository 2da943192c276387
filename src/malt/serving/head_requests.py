"""HEAD, as HTTP has it: what GET would answer, without the body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BEGINS = {"/v1/stream"}  # where GET has something made


class HeadMiddleware:
    """Answers HEAD wherever there is a GET that only looks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, as GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in BEGINS:
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
