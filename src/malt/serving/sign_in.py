"""A page on which a browser shows the token once; from then on a cookie does, in pages, frames, sockets and videos."""

import asyncio
import hashlib
import hmac
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

PATH = "/sign-in"
COOKIE = "malt_sign_in"
SECONDS = 30 * 24 * 3600
MOST_BYTES = 4096
WRONG_SECONDS = 1.0  # that a wrong token waits for its answer
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'self'"
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>malt: sign in</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 1rem }}
form {{ display: grid; gap: .75rem; width: min(22rem, 100%) }}
input, button {{ font: inherit; padding: .6rem .75rem; min-height: 44px; box-sizing: border-box; width: 100% }}
h1 {{ font-size: 1.5rem; margin: 0 }} p {{ margin: 0 }} .wrong {{ color: #c22 }}
</style>
<form method="post" action="{path}">
<h1>malt</h1>
<p><label for="token">This server asks for a token. Whoever started it knows it.</label></p>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<input name="next" type="hidden" value="{next}">
<p class="wrong" role="alert">{wrong}</p>
<button>Sign in</button>
</form>
</html>
"""


def sign_in_page(path: str, wrong: str = "") -> Response:
    """The page, which leads to a path of this server."""
    page = PAGE.format(path=PATH, next=escape(_own_path(path), quote=True), wrong=escape(wrong))
    return HTMLResponse(page, 401, {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


async def sign_in(scope: Scope, receive: Receive, token: str) -> Response:
    """The answer to what was filled in: the cookie and the way on, or the page again."""
    form = parse_qs((await _body(receive)).decode("utf-8", "replace"))
    given, path = form.get("token", [""])[0].strip(), _own_path(form.get("next", ["/"])[0])
    if not hmac.compare_digest(given.encode(), token.encode()):
        await asyncio.sleep(WRONG_SECONDS)
        return sign_in_page(path, "That is not the token.")
    answer = RedirectResponse(path, 303, {"Cache-Control": "no-store"})
    is_safe = scope["scheme"] == "https"
    value = cookie_value(token)
    answer.set_cookie(COOKIE, value, max_age=SECONDS, httponly=True, samesite="strict", secure=is_safe)
    return answer


def cookie_value(token: str) -> str:
    """What the cookie holds: nothing from which the token could be read, and worthless once that is another."""
    return hmac.new(token.encode(), b"malt sign-in", hashlib.sha256).hexdigest()


def has_cookie(headers: Headers, token: str) -> bool:
    """Whether a request comes from a browser that has signed in."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and hmac.compare_digest(cookie.value.encode(), cookie_value(token).encode())


def wants_page(scope: Scope, headers: Headers) -> bool:
    """Whether somebody sits before what sent a request, and would see a page."""
    return (
        scope["method"] in ("GET", "HEAD")
        and "text/html" in headers.get("accept", "")
        and ("authorization" not in headers)
    )


def _own_path(path: str) -> str:
    """A path of this server, whatever was sent in its place."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"


async def _body(receive: Receive) -> bytes:
    body, goes_on = b"", True
    while goes_on and len(body) <= MOST_BYTES:
        try:
            message = await receive()
        except HTTPException:  # it did not arrive in time
            return b""
        body += message.get("body", b"")
        goes_on = message.get("more_body", False)
    return body[:MOST_BYTES]
