"""The routes by which a video begins as another does: extensions, edits and remixes, as OpenAI's videos API names them."""

import asyncio
from contextlib import AsyncExitStack
from typing import IO, TypeVar

import numpy as np
from fastapi import APIRouter, Request

from malt.errors import UsageError
from malt.serving.continuing import copy_source, extra_frames, remixed, source_of
from malt.serving.engine.worker import Worker
from malt.serving.job_store import CHARACTER, Record
from malt.serving.jobs import VideoJobs
from malt.serving.refusals import MissingError
from malt.serving.request_body import BodyReader
from malt.serving.requests import GenerationRequest
from malt.serving.routes import answers, body_of, describe, router_of
from malt.serving.schemas import EditRequest, ExtendRequest, RemixRequest, Video, VideoRequest

REFUSALS = answers(400, 404, 408, 409, 413, 415, 422, 429, 507)
Asked = TypeVar("Asked", ExtendRequest, EditRequest)


def continuing_routes(jobs: VideoJobs, worker: Worker, body_reader: BodyReader, has_token: bool) -> APIRouter:
    """Extend, edit and remix videos."""
    router = router_of("videos", has_token)

    async def take_on(request: Request, kind: type[Asked]) -> Video:
        jobs.check_room()
        async with AsyncExitStack() as files:
            asked, file = await body_reader.read(request, kind, files)
            if file is not None:
                generation, first = await _uploaded(jobs, body_reader, asked, file)
                return describe(jobs, await asyncio.wrap_future(worker.do_soon(lambda: jobs.create(generation, first))))
        source = source_of(jobs, asked)
        record, of, parting = await asyncio.to_thread(copy_source, jobs, source, asked)
        return describe(jobs, await asyncio.wrap_future(worker.do_soon(lambda: jobs.part(record, of, parting))))

    @router.post("/videos/extensions", responses=REFUSALS, openapi_extra={"requestBody": body_of(ExtendRequest)})
    async def extend_video(request: Request) -> Video:
        """Go on with a video: another one, which begins as the whole of it, exactly, and lasts so much longer."""
        return await take_on(request, ExtendRequest)

    @router.post("/videos/edits", responses=REFUSALS, openapi_extra={"requestBody": body_of(EditRequest)})
    async def edit_video(request: Request) -> Video:
        """Branch off a video: another one, which is the same, exactly, up to a frame, and then shows another prompt."""
        return await take_on(request, EditRequest)

    @router.post("/videos/{video_id}/remix", responses=REFUSALS)
    async def remix_video(video_id: str, asked: RemixRequest) -> Video:
        """Make a video again from its beginning, with the same seed and another prompt."""
        source = _find(jobs, video_id)
        jobs.check_room()
        generation, first = remixed(jobs, source, asked)
        character = jobs.store.frames(source, CHARACTER)
        making = worker.do_soon(lambda: jobs.create(generation, first, source.id, character))
        return describe(jobs, await asyncio.wrap_future(making))

    return router


def _find(jobs: VideoJobs, video_id: str) -> Record:
    try:
        return jobs.get(video_id)
    except LookupError as error:
        raise MissingError("there is no such video") from error


async def _uploaded(
    jobs: VideoJobs, body_reader: BodyReader, asked: ExtendRequest | EditRequest, file: IO[bytes]
) -> tuple[GenerationRequest, np.ndarray]:
    """What makes a video of one that was sent: a request and the frames that it begins with."""
    some = jobs.validator.validate(VideoRequest(prompt=asked.prompt, seed=asked.seed, num_frames=1))
    wanted = jobs.validator.wanted(some)
    most = jobs.validator.most_frames(some.size, None)
    frames = await body_reader.decode(file, wanted._replace(most=most))
    if isinstance(asked, ExtendRequest):
        num_frames = len(frames) + extra_frames(asked, some.frame_rate)
    else:
        num_frames, frames = len(frames), frames[: asked.frame]
        if len(frames) < wanted.fewest:
            raise UsageError(f"say at which frame the video becomes another, {wanted.fewest} or later")
    whole = VideoRequest(prompt=asked.prompt, seed=some.seed, num_frames=num_frames)
    return jobs.validator.validate(whole), frames
