"""The studio as an application: the page, what the page fetches, and who may come in."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: it would ask the network

import gradio as gr
from fastapi import FastAPI

from malt.serving.auth import AccessMiddleware
from malt.serving.deadlines import DeadlineMiddleware
from malt.studio.page import build_page, theme
from malt.studio.page_routes import studio_routes
from malt.studio.visitors import Studio


async def _as_it_was_sent(place: str | Path | None) -> str | None:
    """In place of Gradio's own way with a file that a visitor names, which fetches what an address names."""
    if "://" in str(place):
        raise gr.Error("this studio fetches nothing from elsewhere; send the file itself", print_exception=False)
    return None if place is None else str(place)


def create_app(studio: Studio) -> FastAPI:
    """The application; visits end with it. What visitors send lies in the studio's folder, until it is done with."""
    os.environ["GRADIO_TEMP_DIR"] = str(studio.uploads)

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
    app.add_middleware(AccessMiddleware, token=studio.token, loopback_only=studio.loopback_only)
    app.add_middleware(DeadlineMiddleware, seconds=studio.limits.stall_seconds)
    app.include_router(studio_routes(studio))

    @app.get("/healthz")
    async def health() -> dict[str, str | int]:
        return {"status": "ok", "running": studio.worker.num_running, "waiting": studio.worker.num_waiting}

    page = build_page(studio)
    page.has_launched = True  # only then does Gradio refuse paths that a visitor names and never sent
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = _as_it_was_sent  # type: ignore[method-assign, assignment]
    page.queue(default_concurrency_limit=8, max_size=64)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        max_file_size=studio.limits.upload_bytes,
    )
    return mounted
