"""The studio as an application: the page, what the page fetches, and who may come in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from malt.serving.auth import AccessMiddleware
from malt.serving.deadlines import DeadlineMiddleware
from malt.serving.error_handlers import add_error_handlers
from malt.serving.head_requests import HeadMiddleware
from malt.studio.command_routes import command_routes
from malt.studio.file_routes import file_routes
from malt.studio.scene_socket import scene_routes
from malt.studio.visitors import Studio

PAGE = Path(__file__).parent / "page"
FILES = {path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.is_file()}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def create_app(studio: Studio) -> FastAPI:
    """The application; what visitors have made stays in the studio's folder when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(studio.keep_swept())
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            await studio.rest(0)

    app = FastAPI(title="malt studio", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(AccessMiddleware, token=studio.token, loopback_only=studio.loopback_only)
    app.add_middleware(DeadlineMiddleware, seconds=studio.limits.stall_seconds)
    for routes in (command_routes, scene_routes, file_routes):
        app.include_router(routes(studio))
    add_error_handlers(app)

    @app.get("/healthz")
    async def health() -> dict[str, str | int]:
        return {"status": "ok", "running": studio.worker.num_running, "waiting": studio.worker.num_waiting}

    @app.get("/")
    async def page() -> Response:
        return _page_file("index.html")

    @app.get("/page/{name:path}")
    async def file(name: str) -> Response:
        return _page_file(name)

    return app


def _page_file(name: str) -> Response:
    """A file of the page by its name in the package; no name leads out of it."""
    if name not in FILES:
        raise HTTPException(404, "there is no such file")
    return FileResponse(FILES[name], headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})
