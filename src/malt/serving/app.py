"""The server: video jobs, a stream of video as it is made, and a WebSocket to steer one, on one model."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

import malt
from malt.errors import MaltError, UsageError
from malt.serving.auth import AccessMiddleware
from malt.serving.engine.worker import BusyError, Worker
from malt.serving.job_store import JobStore
from malt.serving.jobs import VideoJobs
from malt.serving.limits import Limits
from malt.serving.metrics import Metrics
from malt.serving.realtime import RealtimeConnection
from malt.serving.request_body import BodyReader
from malt.serving.requests import RequestValidator
from malt.serving.routes import stream_routes, video_routes
from malt.serving.schemas import ErrorAnswer, ErrorBody, Health
from malt.serving.streams import StreamOpener

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

ABOUT = """Videos of any length from a sentence.

`/v1/videos` makes videos as jobs. `/v1/stream` is a video that plays while it is made. The WebSocket
`/v1/realtime/video` does the same and takes events: `{"type": "start", "prompt": ...}`, `{"type": "prompt", ...}`,
`{"type": "action", "actions": {"steering": -1}}` for models that act, `{"type": "ping"}`, `{"type": "stop"}`; it answers
with `started`, `segment` (and behind it a binary piece of fragmented MP4), `done`, `pong` and `error`.
"""


@dataclass(kw_only=True)
class Service:
    """All that one server is made of.

    name: what the model is called. data: folder of the videos. token: what visitors have to show; None lets everybody in.
    scale: every pixel is written this many times each way. notes: what is kept with every session.
    """

    pipe: "VideoPipeline"
    name: str
    data: Path
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    loopback_only: bool = True
    scale: int = 4
    notes: dict[str, object] = field(default_factory=lambda: {"checkpoint": None})

    def __post_init__(self) -> None:
        """Put the parts together and start the computing thread."""
        store, limits = JobStore(self.data), self.limits
        self.worker = Worker(max_running=limits.running, max_waiting=limits.waiting)
        self.validator, self.metrics = RequestValidator(self.pipe, self.name, limits), Metrics(self.worker)
        self.jobs = VideoJobs(self.worker, self.validator, store, self.metrics, scale=self.scale, notes=self.notes)
        self.stream_opener = StreamOpener(self.worker, self.validator, self.metrics, scale=self.scale)
        self.connections: set[RealtimeConnection] = set()

    def greeting(self, address: str) -> str:
        """What is said once the server can be reached at an address."""
        return (
            f"serving {self.name} at {address} (API at {address}/docs)\n"
            f"videos are kept in {self.data}; Ctrl-C stops, and what is unfinished goes on at the next start"
        )

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
        try:
            yield
        finally:
            await asyncio.to_thread(service.worker.close)

    app = FastAPI(title="malt", version=malt.__version__, description=ABOUT, lifespan=lifespan)
    app.add_middleware(AccessMiddleware, token=service.token, loopback_only=service.loopback_only)
    app.include_router(
        video_routes(service.jobs, service.worker, BodyReader(service.validator), service.token is not None)
    )
    app.include_router(stream_routes(service.stream_opener, service.token is not None))
    _add_watching(app, service)
    _add_error_handlers(app, service.metrics)
    return app


def _add_watching(app: FastAPI, service: Service) -> None:
    worker = service.worker

    @app.get("/healthz", tags=["watching"])
    async def health() -> Health:
        """Whether the server works, and how busy it is; needs no token."""
        return Health(model=service.name, running=worker.num_running, waiting=worker.num_waiting)

    @app.get("/metrics", tags=["watching"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.websocket("/v1/realtime/video")
    async def realtime(socket: WebSocket) -> None:
        connection = RealtimeConnection(socket, service.stream_opener)
        service.connections.add(connection)
        try:
            await connection.run()
        finally:
            service.connections.discard(connection)


def _add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Every answer that is not a success has one shape and one sentence."""

    def answer(status: int, message: str, kind: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        metrics.refused(status)
        content = ErrorAnswer(error=ErrorBody(message=message, type=kind, code=status))
        return JSONResponse(content.model_dump(), status, headers)

    @app.exception_handler(MaltError)
    async def tell(request: Request, error: MaltError) -> JSONResponse:
        if isinstance(error, BusyError):
            return answer(429, str(error), "busy", {"Retry-After": "10"})
        return (
            answer(400, str(error), "bad_request")
            if isinstance(error, UsageError)
            else answer(500, str(error), "failed")
        )

    @app.exception_handler(RequestValidationError)
    async def tell_form(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        return answer(422, f"{where}: {first['msg']}", "bad_request")

    @app.exception_handler(HTTPException)
    async def tell_http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), "bad_request", error.headers)
