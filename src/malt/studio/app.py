"""The studio as an application: the page, what the page fetches, and who may come in."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: it would ask the network

import gradio as gr
from fastapi import FastAPI

from malt.studio.doors import doors
from malt.studio.page import build_page, theme
from malt.studio.studio import Studio
from malt.web.guard import Guard


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
    app.add_middleware(Guard, token=studio.token, loopback_only=studio.loopback_only)
    app.include_router(doors(studio))

    @app.get("/healthz")
    async def health() -> dict[str, str | int]:
        return {"status": "ok", "running": studio.worker.num_running, "waiting": studio.worker.num_waiting}

    page = build_page(studio)
    page.has_launched = True  # only then does Gradio refuse paths that a visitor names and never sent
    page.queue(default_concurrency_limit=8, max_size=64)
    return gr.mount_gradio_app(
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
