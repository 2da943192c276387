"""The server: video jobs, a stream of video as it is made, and a WebSocket to steer one, on one model."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.middleware.cors import CORSMiddleware

import malt
from malt.serving.access_log import AccessLog
from malt.serving.api_page import api_page
from malt.serving.auth import AccessMiddleware
from malt.serving.character_routes import character_routes
from malt.serving.continuing_routes import continuing_routes
from malt.serving.deadlines import DeadlineMiddleware
from malt.serving.engine.remote_rollout import compute_elsewhere
from malt.serving.engine.segment_work import Executor
from malt.serving.engine.worker import Worker
from malt.serving.error_handlers import add_error_handlers
from malt.serving.head_requests import HeadMiddleware
from malt.serving.job_store import JobStore
from malt.serving.jobs import VideoJobs
from malt.serving.limits import Limits
from malt.serving.metrics import Metrics
from malt.serving.realtime import RealtimeConnection
from malt.serving.refusals import MissingError
from malt.serving.request_body import BodyReader
from malt.serving.requests import RequestValidator
from malt.serving.routes import answers, video_routes
from malt.serving.schemas import Health, ModelList, ServedModel
from malt.serving.served_worlds import Worlds
from malt.serving.stream_routes import stream_routes
from malt.serving.streams import StreamOpener
from malt.serving.world_routes import world_routes

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

ABOUT = """Videos of any length from a sentence.

`/v1/videos` makes videos as jobs. `/v1/stream` is a video that plays while it is made. The WebSocket
`/v1/realtime/video` does the same and takes events: `{"type": "start", "prompt": ...}`, `{"type": "prompt", ...}`,
`{"type": "action", "actions": {"steering": -1}}` for models that act, `{"type": "ping"}`, `{"type": "stop"}`; it answers
with `started`, `segment` (and behind it a binary piece of fragmented MP4), `done`, `pong` and `error`.

`/v1/worlds` are places to act in: a step takes actions and gives frames; a world can be forked, kept as bytes and restored.
Steps that wait go through one forward pass.
"""
SWEEP_SECONDS = 600.0


@dataclass(kw_only=True)
class Service:
    """All that one server is made of.

    name: what the model is called. data: folder of the videos. token: what visitors have to show; None lets everybody in.
    scale: every pixel is written this many times each way. notes: what is kept with every session. aliases: other names of
    the model. origins: of pages on other sites that may use the server. executor: what computes, elsewhere; None where this
    process does.
    """

    pipe: "VideoPipeline"
    name: str
    data: Path
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    loopback_only: bool = True
    scale: int = 4
    notes: dict[str, object] = field(default_factory=lambda: {"checkpoint": None})
    aliases: Sequence[str] = ()
    origins: Sequence[str] = ()
    executor: Executor | None = None

    def __post_init__(self) -> None:
        """Put the parts together and start the computing thread."""
        self.store, limits, self.begun = JobStore(self.data), self.limits, int(time.time())
        self.worker = Worker(
            max_running=limits.running,
            max_waiting=limits.waiting,
            max_paused=limits.pause_seconds,
            max_together=limits.together,
            num_threads=1 if self.executor is None else self.executor.num_places,
        )
        self.metrics = Metrics(self.worker)
        if self.executor is not None:
            compute_elsewhere(self.pipe, self.executor)
            self.metrics.watch(self.executor)
        self.validator = RequestValidator(self.pipe, self.name, limits, self.aliases)
        self.jobs = VideoJobs(self.worker, self.validator, self.store, self.metrics, scale=self.scale, notes=self.notes)
        self.stream_opener = StreamOpener(self.worker, self.validator, self.metrics, scale=self.scale)
        self.worlds = Worlds(self.worker, self.validator, self.metrics)
        self.connections: set[RealtimeConnection] = set()

    def greeting(self, address: str) -> str:
        """What is said once the server can be reached at an address."""
        return (
            f"serving {self.name} at {address} (API at {address}/docs)\n"
            f"videos are kept in {self.data}; Ctrl-C stops, and what is unfinished goes on at the next start"
        )

    def close(self) -> None:
        """End all work and let go of what computes, and of the folder."""
        self.worker.close()
        if self.executor is not None:
            self.executor.close()
        self.store.close()

    async def keep_swept(self) -> None:
        """Delete, now and then, what has been kept for long enough."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await asyncio.to_thread(self.jobs.sweep)
            self.worlds.sweep()

    async def rest(self, seconds: float) -> None:
        """End all work; then wait, at most so long, until those who talk to us have been told so."""
        await asyncio.to_thread(self.worker.close)
        if told := [asyncio.create_task(each.drain()) for each in self.connections]:
            await asyncio.wait(told, timeout=seconds)


def create_app(service: Service) -> FastAPI:
    """The application; it goes on with unfinished jobs when it starts, and closes the worker when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.wrap_future(service.worker.do(service.jobs.recover))
        sweeping = asyncio.create_task(service.keep_swept())
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="malt", version=malt.__version__, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    _add_layers(app, service)
    parts = service.jobs, service.worker, BodyReader(service.limits), service.token is not None
    app.include_router(character_routes(service.jobs, parts[2], parts[3]))  # before videos of any id
    app.include_router(continuing_routes(*parts))
    app.include_router(video_routes(*parts))
    app.include_router(stream_routes(service.stream_opener, service.token is not None))
    app.include_router(world_routes(service.worlds, service.worker, service.token is not None))
    _add_watching(app, service)
    _add_pages(app, service)
    add_error_handlers(app)
    return app


def _add_layers(app: FastAPI, service: Service) -> None:
    """What every request passes through, the innermost first."""
    app.add_middleware(HeadMiddleware)
    app.add_middleware(
        AccessMiddleware, token=service.token, loopback_only=service.loopback_only, origins=service.origins
    )
    if service.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.origins),
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials="*" not in service.origins,
        )
    app.add_middleware(DeadlineMiddleware, seconds=service.limits.stall_seconds)
    app.add_middleware(AccessLog, metrics=service.metrics)


def _add_watching(app: FastAPI, service: Service) -> None:
    worker = service.worker

    @app.get("/healthz", tags=["watching"], responses={503: {"model": Health}})
    async def health() -> JSONResponse:
        """Whether the server works, and how busy it is; needs no token. 503 where nothing has been finished for too long."""
        silent = worker.silent_seconds
        executor = service.executor
        is_well = silent < service.limits.quiet_seconds and (executor is None or executor.num_alive > 0)
        told = Health(
            status="ok" if is_well else "degraded",
            model=service.name,
            running=worker.num_running,
            waiting=worker.num_waiting,
            silent_seconds=round(silent, 1),
            workers=1 if executor is None else executor.num_alive,
        )
        return JSONResponse(told.model_dump(), 200 if is_well else 503)

    @app.get("/metrics", tags=["watching"], response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", tags=["models"], responses=answers())
    async def list_models() -> ModelList:
        """The model that is served, by each of its names."""
        names = [service.name, *(alias for alias in service.aliases if alias != "*")]
        return ModelList(data=[ServedModel(id=name, created=service.begun) for name in names])

    @app.get("/v1/models/{name:path}", tags=["models"], responses=answers(404))
    async def get_model(name: str) -> ServedModel:
        """A model by one of its names."""
        if name not in (service.name, *service.aliases) and "*" not in service.aliases:
            raise MissingError(f"there is no model {name!r} here; this server has {service.name}")
        return ServedModel(id=name, created=service.begun)

    @app.websocket("/v1/realtime/video")
    async def realtime(socket: WebSocket) -> None:
        connection = RealtimeConnection(socket, service.stream_opener)
        service.connections.add(connection)
        try:
            await connection.run()
        finally:
            service.connections.discard(connection)


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()))

    @app.get("/", include_in_schema=False)
    async def front() -> RedirectResponse:
        return RedirectResponse("/docs")
