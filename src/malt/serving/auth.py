"""Who may come in: those with the token, and pages of this server alone; others' pages may not use a visitor's browser."""

import base64
import binascii
import hmac
import ipaddress
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = {"/healthz"}


class AccessMiddleware:
    """Refuses, before anything else is looked at, a request without the token or from another site's page.

    The token comes as `Authorization: Bearer TOKEN`, or as the password of HTTP's basic authentication, which a <video>
    element and ffplay can send. On a loopback server the host has to be a loopback name: a page elsewhere whose name is
    made to point here is refused.
    """

    def __init__(self, app: ASGIApp, token: str | None = None, loopback_only: bool = True) -> None:
        self._app, self._token, self._loopback_only = app, token, loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it here."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            await _refuse(send, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback_only and not _is_loopback(host):
            return 403, f"the host {host!r} is not this machine; start with --public to be reached by others"
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != host
        if is_foreign or (headers.get("sec-fetch-site") == "cross-site" and scope["path"].startswith("/v1")):
            return 403, "a page of another site may not use this server"
        if self._token is None or scope["path"] in OPEN_PATHS or _has_token(headers, self._token):
            return None
        return 401, "give the server's token, as Authorization: Bearer TOKEN"


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
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode(), token.encode())


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "refused", "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="malt", Basic realm="malt"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
