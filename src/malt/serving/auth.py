"""Who may come in: those with the token, and pages of this server alone; others' pages may not use a visitor's browser."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from malt.serving.refusals import error_answer
from malt.serving.sign_in import PATH, has_cookie, sign_in, sign_in_page, wants_page

OPEN_PATHS = {"/healthz"}
ANY = "*"
# Of every answer that says nothing else: no other site's page may frame it, and nothing is taken for what it is not.
SAFE = {"Content-Security-Policy": "frame-ancestors 'self'", "X-Content-Type-Options": "nosniff"}


class AccessMiddleware:
    """Refuses, before anything else is looked at, a request without the token or from another site's page.

    The token comes as `Authorization: Bearer TOKEN`, as the password of HTTP's basic authentication, which ffplay can send,
    or by the cookie that browsers have from the sign-in page. On a loopback server the host has to be a loopback name: a
    page elsewhere whose name is made to point here is refused. Pages of the `origins` may use the server.
    """

    def __init__(
        self, app: ASGIApp, token: str | None = None, loopback_only: bool = True, origins: Sequence[str] = ()
    ) -> None:
        self._app, self._token, self._loopback_only, self._origins = app, token, loopback_only, tuple(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            return
        app = self._app if refusal is None else self._answer(refusal, scope, headers)
        if self._token is not None and scope["path"] == PATH and (refusal is None or refusal[0] == 401):
            app = await sign_in(scope, receive, self._token) if scope["method"] == "POST" else sign_in_page("/")
        await app(scope, receive, _safely(send))

    def _answer(self, refusal: tuple[int, str], scope: Scope, headers: Headers) -> Response:
        status, message = refusal
        if status == 401 and wants_page(scope, headers):
            query = scope.get("query_string", b"").decode("latin-1")
            return sign_in_page(scope["path"] + (f"?{query}" if query else ""))
        answer = JSONResponse(error_answer(status, message), status)
        if status == 401:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="malt"'
            if "sec-fetch-mode" not in headers:  # a browser would open a dialog in the midst of a page
                answer.headers.append("WWW-Authenticate", 'Basic realm="malt"')
        return answer

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._loopback_only and not _is_loopback(host):
            return 403, f"the host {host!r} is not this machine; start with --public to be reached by others"
        origin = headers.get("origin")
        is_known = ANY in self._origins or origin in self._origins
        is_foreign = origin is not None and urlsplit(origin).netloc != host
        if not is_known and (
            is_foreign or (headers.get("sec-fetch-site") == "cross-site" and scope["path"].startswith("/v1"))
        ):
            return 403, "a page of another site may not use this server; let it with --allow-origin"
        if self._token is None or scope["path"] in OPEN_PATHS:
            return None
        if _has_token(headers, self._token) or has_cookie(headers, self._token):
            return None
        return 401, "give the server's token, as Authorization: Bearer TOKEN"


def _safely(send: Send) -> Send:
    async def send_safely(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SAFE.items():
                headers.setdefault(name, value)
        await send(message)

    return send_safely


def is_loopback_address(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback_address(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _has_token(headers: Headers, token: str) -> bool:
    kind, _, given = headers.get("authorization", "").partition(" ")
    sent = given.strip().encode("latin-1")  # as it came; clients send UTF-8
    if kind.lower() == "basic":
        try:
            sent = base64.b64decode(sent, validate=True).partition(b":")[2].strip()
        except binascii.Error:
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(sent, token.encode())
