"""The HTTP routes under /v1: video jobs in the shape of OpenAI's videos API, and the stream."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response, Security
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from malt.serving.engine.worker import Worker
from malt.serving.job_store import Record
from malt.serving.jobs import VideoJobs
from malt.serving.moments import KeptMoments, MemoryChange
from malt.serving.request_body import FILES, BodyReader
from malt.serving.schemas import ErrorAnswer, Video, VideoDeleted, VideoError, VideoList, VideoRequest
from malt.serving.streams import LiveResponse, StreamOpener

MOST_LISTED = 100
MP4 = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}


def video_routes(jobs: VideoJobs, worker: Worker, body_reader: BodyReader, has_token: bool) -> APIRouter:
    """Make, list, look at, fetch, cancel and delete videos."""
    router = _router("videos", has_token)

    def find(video_id: str) -> Record:
        try:
            return jobs.get(video_id)
        except LookupError as error:
            raise HTTPException(404, "there is no such video") from error

    _add_looking(router, jobs, find)
    _add_making(router, jobs, worker, body_reader, find)
    return router


def _add_making(
    router: APIRouter, jobs: VideoJobs, worker: Worker, body_reader: BodyReader, found: Callable[[str], Record]
) -> None:
    @router.post("/videos", responses=_answers(400, 413, 415, 422, 429), openapi_extra={"requestBody": _body()})
    async def create_video(request: Request) -> Video:
        """Have a video made, from a prompt and an optional first image or video."""
        worker.check_room()
        incoming = await body_reader.read(request)
        making = worker.do(lambda: jobs.create(incoming.generation, incoming.first))
        return describe(jobs, await asyncio.wrap_future(making))

    @router.post("/videos/{video_id}/cancel", responses=_answers(404))
    async def cancel_video(record: Annotated[Record, Depends(found)]) -> Video:
        """End a job behind the segment in the making; what there is stays."""
        jobs.cancel(record)
        return describe(jobs, record)

    @router.post("/videos/{video_id}/memory", responses=_answers(400, 404, 422))
    async def change_memory(record: Annotated[Record, Depends(found)], asked: MemoryChange) -> KeptMoments:
        """Keep what a video in the making remembers under a name, recall it or forget it, before its next segment."""
        return await asyncio.wrap_future(worker.do(lambda: jobs.change_memory(record, asked)))

    @router.delete("/videos/{video_id}", responses=_answers(404))
    async def delete_video(record: Annotated[Record, Depends(found)]) -> VideoDeleted:
        """Delete a video and all that belongs to it, whether or not it is finished."""
        await asyncio.to_thread(jobs.remove, record)
        return VideoDeleted(id=record.id)


def _add_looking(router: APIRouter, jobs: VideoJobs, found: Callable[[str], Record]) -> None:
    @router.get("/videos", responses=_answers(422))
    async def list_videos(
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 20, after: str | None = None
    ) -> VideoList:
        """Videos, latest first; `after` is the last id of the page before."""
        records = jobs.all()
        ids = [record.id for record in records]
        begin = ids.index(after) + 1 if after in ids else 0
        page = [describe(jobs, record) for record in records[begin : begin + limit]]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        return VideoList(data=page, first_id=first, last_id=last, has_more=begin + limit < len(records))

    @router.get("/videos/{video_id}", responses=_answers(404))
    async def get_video(record: Annotated[Record, Depends(found)]) -> Video:
        """How far a video is."""
        return describe(jobs, record)

    @router.get("/videos/{video_id}/memory", responses=_answers(400, 404))
    async def get_memory(record: Annotated[Record, Depends(found)]) -> KeptMoments:
        """What a video in the making keeps by name."""
        return jobs.moments(record)

    @router.get(
        "/videos/{video_id}/content",
        response_class=FileResponse,
        responses={**_answers(404, 409, 422), 200: {"content": MP4}, 206: {"content": MP4}, 416: {}},
    )
    async def get_content(record: Annotated[Record, Depends(found)], partial: bool = False) -> Response:
        """The video as MP4; with `partial`, what there is of one that is still being made."""
        if record.status != "completed" and not partial:
            about = f"the video is {jobs.status(record)}; wait, or ask for what there is with partial=true"
            raise HTTPException(409, about)
        return _content(jobs, record)


def stream_routes(stream_opener: StreamOpener, has_token: bool) -> APIRouter:
    """A video that is sent while it is made."""
    router = _router("streaming", has_token)

    @router.get(
        "/stream",
        response_class=Response,
        responses={**_answers(400, 422, 429), 200: {"content": MP4}},
    )
    async def stream(request: Annotated[VideoRequest, Query()]) -> Response:
        """A video as fragmented MP4 that plays while it is made, as in <video src="/v1/stream?prompt=a%20red%20circle">.

        Without a length it goes on until the reader leaves.
        """
        live = await stream_opener.open(stream_opener.validator.validate(request, streams=True))
        return LiveResponse(live, stream_opener.validator.limits.stall_seconds)

    return router


def describe(jobs: VideoJobs, record: Record) -> Video:
    """What the server says of a job."""
    return Video(
        id=record.id,
        model=record.model,
        status=jobs.status(record),  # type: ignore[arg-type]
        progress=min(100, 100 * record.frames_made // record.num_frames),
        prompt=record.request["prompt"],
        seconds=f"{record.num_frames / record.frame_rate:g}",
        size=record.size,
        num_frames=record.num_frames,
        frames_made=record.frames_made,
        seed=record.request["seed"],
        created_at=int(record.created_at),
        completed_at=None if record.completed_at is None else int(record.completed_at),
        error=VideoError(code="failed", message=record.error) if record.error else None,
    )


def _content(jobs: VideoJobs, record: Record) -> Response:
    path, name = jobs.video(record), f"{record.id}.mp4"
    if not path.is_file():
        raise HTTPException(409, f"there is nothing yet of this video; it is {jobs.status(record)}")
    if record.status == "completed":
        return FileResponse(path, media_type="video/mp4", filename=name)
    with path.open("rb") as file:
        return Response(file.read(record.end_in_file), media_type="video/mp4")


def _router(tag: str, has_token: bool) -> APIRouter:
    """The token itself is asked for by the middleware, before anything else; here it is documented."""
    security = [Security(HTTPBearer(auto_error=False))] if has_token else []
    return APIRouter(prefix="/v1", tags=[tag], dependencies=security)


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in (401, 403, *statuses)}


def _body() -> dict[str, Any]:
    """What a request for a video may look like, for the OpenAPI document."""
    schema = VideoRequest.model_json_schema()
    file = {"type": "string", "format": "binary", "description": "The first image or video, told by what it holds."}
    form = {**schema, "properties": {**schema["properties"], **dict.fromkeys(FILES[:1], file)}}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}},
    }
