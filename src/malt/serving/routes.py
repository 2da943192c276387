"""The HTTP routes under /v1/videos, in the shape of OpenAI's videos API: make, list, look at, fetch, cancel and delete."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response, Security
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.background import BackgroundTask

from malt.errors import MaltError
from malt.serving.engine.worker import Worker
from malt.serving.job_store import Record
from malt.serving.jobs import VideoJobs
from malt.serving.moments import KeptMoments, MemoryChange
from malt.serving.previews import spritesheet, thumbnail
from malt.serving.refusals import MissingError, NotReadyError, without_folders
from malt.serving.request_body import FILES, BodyReader
from malt.serving.requests import GenerationRequest
from malt.serving.schemas import ErrorAnswer, Video, VideoDeleted, VideoError, VideoList, VideoRequest

MOST_LISTED = 100
BINARY = {"schema": {"type": "string", "format": "binary"}}
MP4 = {"video/mp4": BINARY}
PREVIEWS = {"thumbnail": (thumbnail, "image/webp"), "spritesheet": (spritesheet, "image/jpeg")}
POLL_SECONDS = 0.1


def video_routes(jobs: VideoJobs, worker: Worker, body_reader: BodyReader, has_token: bool) -> APIRouter:
    """Make, list, look at, fetch, cancel and delete videos."""
    router = router_of("videos", has_token)

    def find(video_id: str) -> Record:
        try:
            return jobs.get(video_id)
        except LookupError as error:
            raise MissingError("there is no such video") from error

    _add_looking(router, jobs, find)
    _add_making(router, jobs, worker, body_reader)
    _add_changing(router, jobs, worker, find)
    return router


def _add_making(router: APIRouter, jobs: VideoJobs, worker: Worker, body_reader: BodyReader) -> None:
    refusals = answers(400, 404, 408, 413, 415, 422, 429, 507)

    async def take_on(request: Request) -> Record:
        jobs.check_room()
        async with AsyncExitStack() as files:
            asked, file = await body_reader.read(request, VideoRequest, files)
            generation = jobs.validator.validate(asked)
            first = await body_reader.decode(file, jobs.validator.wanted(generation)) if file else None
            character = await _character(jobs, body_reader, generation)
        return await asyncio.wrap_future(worker.do_soon(lambda: jobs.create(generation, first, character=character)))

    @router.post("/videos", responses=refusals, openapi_extra={"requestBody": body_of(VideoRequest)})
    async def create_video(request: Request) -> Video:
        """Have a video made, from a prompt and an optional first image or video."""
        return describe(jobs, await take_on(request))

    @router.post(
        "/videos/sync",
        response_class=FileResponse,
        responses={**refusals, 200: {"content": MP4}, 206: {"content": MP4}, 416: {}, 500: {"model": ErrorAnswer}},
        openapi_extra={"requestBody": body_of(VideoRequest)},
    )
    async def create_and_wait(request: Request) -> Response:
        """Have a video made, and get it as MP4; it is not kept. Whoever leaves has it ended."""
        record = await take_on(request)
        try:
            while jobs.is_going(record) and not await request.is_disconnected():
                await asyncio.sleep(POLL_SECONDS)
            if record.status != "completed":
                raise MaltError(record.error or "the video was ended before it was there")
        except BaseException:
            jobs.remove(record)
            raise
        gone = BackgroundTask(jobs.remove, record)
        return FileResponse(jobs.video(record), media_type="video/mp4", filename="video.mp4", background=gone)


def _add_changing(router: APIRouter, jobs: VideoJobs, worker: Worker, found: Callable[[str], Record]) -> None:
    @router.post("/videos/{video_id}/cancel", responses=answers(404))
    async def cancel_video(record: Annotated[Record, Depends(found)]) -> Video:
        """End a job; the segment in the making is given up, and what there is stays."""
        jobs.cancel(record)
        return describe(jobs, record)

    @router.post("/videos/{video_id}/memory", responses=answers(400, 404, 422))
    async def change_memory(record: Annotated[Record, Depends(found)], asked: MemoryChange) -> KeptMoments:
        """Keep what a video in the making remembers under a name, recall it or forget it, before its next segment."""
        return await asyncio.wrap_future(worker.do(lambda: jobs.change_memory(record, asked)))

    @router.delete("/videos/{video_id}", responses=answers(404))
    async def delete_video(record: Annotated[Record, Depends(found)]) -> VideoDeleted:
        """Delete a video and all that belongs to it, whether or not it is finished."""
        await asyncio.to_thread(jobs.remove, record)
        return VideoDeleted(id=record.id)


def _add_looking(router: APIRouter, jobs: VideoJobs, found: Callable[[str], Record]) -> None:
    @router.get("/videos", responses=answers(404, 422))
    async def list_videos(
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 20,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
    ) -> VideoList:
        """Videos, latest first unless the order is asc; `after` is the last id of the page before."""
        records = jobs.all() if order == "desc" else jobs.all()[::-1]
        ids = [record.id for record in records]
        if after is not None and after not in ids:
            raise MissingError("there is no such video to list those after")
        begin = 0 if after is None else ids.index(after) + 1
        page = [describe(jobs, record) for record in records[begin : begin + limit]]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        return VideoList(data=page, first_id=first, last_id=last, has_more=begin + limit < len(records))

    @router.get("/videos/{video_id}", responses=answers(404))
    async def get_video(record: Annotated[Record, Depends(found)]) -> Video:
        """How far a video is."""
        return describe(jobs, record)

    @router.get("/videos/{video_id}/memory", responses=answers(400, 404))
    async def get_memory(record: Annotated[Record, Depends(found)]) -> KeptMoments:
        """What a video in the making keeps by name."""
        return jobs.moments(record)

    kinds = {**MP4, "image/webp": BINARY, "image/jpeg": BINARY}

    @router.get(
        "/videos/{video_id}/content",
        response_class=FileResponse,
        responses={**answers(404, 409, 422), 200: {"content": kinds}, 206: {"content": MP4}, 416: {}},
    )
    async def get_content(
        record: Annotated[Record, Depends(found)],
        variant: Literal["video", "thumbnail", "spritesheet"] = "video",
        partial: bool = False,
    ) -> Response:
        """The video as MP4, or pictures of it; with `partial`, what there is of one that is still being made."""
        if record.status != "completed" and not partial:
            raise NotReadyError(f"the video is {jobs.status(record)}; wait, or ask for what there is with partial=true")
        if not jobs.video(record).is_file():
            raise NotReadyError(f"there is nothing yet of this video; it is {jobs.status(record)}")
        if variant == "video":
            return _content(jobs, record)
        draw, media = PREVIEWS[variant]
        return Response(await asyncio.to_thread(draw, jobs.video(record)), media_type=media)


async def _character(jobs: VideoJobs, body_reader: BodyReader, of: GenerationRequest) -> np.ndarray | None:
    """The frames that a video is to remember, of its size."""
    if not of.request.characters:
        return None
    found = jobs.characters.get(of.request.characters[0].id)
    with jobs.characters.open(found) as file:
        return await body_reader.decode(file, jobs.validator.wanted_character(of.size))


def describe(jobs: VideoJobs, record: Record) -> Video:
    """What the server says of a job."""
    expires = (record.completed_at or record.created_at) + jobs.validator.limits.keep_seconds
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
        expires_at=int(expires) if record.is_over and expires < float("inf") else None,
        error=VideoError(code="failed", message=without_folders(record.error)) if record.error else None,
        remixed_from_video_id=record.parent,
        remarks=record.remarks,
    )


def router_of(tag: str, has_token: bool) -> APIRouter:
    """The token itself is asked for by the middleware, before anything else; here it is documented."""
    security = [Security(HTTPBearer(auto_error=False))] if has_token else []
    return APIRouter(prefix="/v1", tags=[tag], dependencies=security)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The shape of refusals, for the OpenAPI document."""
    return {status: {"model": ErrorAnswer} for status in (401, 403, *statuses)}


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """What a request may look like, for the OpenAPI document."""
    schema = kind.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    name = FILES[0] if kind is VideoRequest else "video"
    file = {"type": "string", "format": "binary", "description": "An image or video, told by what it holds."}
    form = {**schema, "properties": {**schema["properties"], name: file}}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}},
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema that refers to nothing."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return definitions[schema["$ref"].rpartition("/")[2]]
    return {name: _inlined(each, definitions) for name, each in schema.items()}


def _content(jobs: VideoJobs, record: Record) -> Response:
    path, name = jobs.video(record), f"{record.id}.mp4"
    if record.status == "completed":
        return FileResponse(path, media_type="video/mp4", filename=name)
    with path.open("rb") as file:
        return Response(file.read(record.end_in_file), media_type="video/mp4")
