"""The HTTP routes under /v1/worlds: begin a world, step, fork, keep and restore it, list and delete."""

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from PIL import Image

from malt.serving.engine.worker import Worker
from malt.serving.request_body import bounded
from malt.serving.routes import BINARY, answers, router_of
from malt.serving.served_worlds import Worlds
from malt.serving.world_schemas import (
    World,
    WorldDeleted,
    WorldForkRequest,
    WorldFrames,
    WorldList,
    WorldRequest,
    WorldStepRequest,
)
from malt.serving.world_steps import Frames, ServedWorld

STATE = {"application/octet-stream": BINARY}
STATE_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": STATE}}


def world_routes(worlds: Worlds, worker: Worker, has_token: bool) -> APIRouter:
    """Worlds to act in."""
    router = router_of("worlds", has_token)

    def found(world_id: str) -> ServedWorld:
        return worlds.get(world_id)

    Found = Annotated[ServedWorld, Depends(found)]

    @router.post("/worlds", responses=answers(400, 422, 429))
    async def create_world(asked: WorldRequest) -> World:
        """Begin a world; its first step shows its first frames."""
        return worlds.describe(await asyncio.wrap_future(worker.do_soon(lambda: worlds.create(asked))))

    @router.get("/worlds", responses=answers())
    async def list_worlds() -> WorldList:
        """The worlds that there are, and how many there may be."""
        return WorldList(data=[worlds.describe(world) for world in worlds.all()], spec=worlds.spec)

    @router.get("/worlds/{world_id}", responses=answers(404))
    async def get_world(world: Found) -> World:
        """How far a world is."""
        return worlds.describe(world)

    @router.post("/worlds/{world_id}/step", responses=answers(400, 404, 409, 422, 429, 500))
    async def step_world(world: Found, asked: WorldStepRequest) -> WorldFrames:
        """Act, and see what comes of it; steps of other worlds that wait go through the same forward pass."""
        start, frames = await asyncio.wrap_future(worlds.step(world, asked))
        pictures = await asyncio.to_thread(_pictures, frames)
        return WorldFrames(id=world.id, start=start, num_frames=start + len(frames), frames=pictures)

    @router.post("/worlds/{world_id}/fork", responses=answers(400, 404, 422, 429))
    async def fork_world(world: Found, asked: WorldForkRequest) -> WorldList:
        """Have other worlds stand where this one does; what is done in them is their own."""
        forks = worlds.fork(world, asked.copies)
        return WorldList(data=[worlds.describe(fork) for fork in forks], spec=worlds.spec)

    @router.delete("/worlds/{world_id}", responses=answers(404))
    async def delete_world(world: Found) -> WorldDeleted:
        """Delete a world; its forks stay."""
        worlds.remove(world)
        return WorldDeleted(id=world.id)

    _add_states(router, worlds, worker, found)
    return router


def _add_states(router: APIRouter, worlds: Worlds, worker: Worker, found: Callable[[str], ServedWorld]) -> None:
    @router.post(
        "/worlds/{world_id}/snapshot",
        response_class=Response,
        responses={**answers(404), 200: {"content": STATE}},
    )
    async def snapshot_world(world: Annotated[ServedWorld, Depends(found)]) -> Response:
        """Where a world stands, as bytes; a world of this model can be restored from them, here or elsewhere."""
        state = await asyncio.to_thread(worlds.snapshot, world)
        return Response(state, media_type="application/octet-stream")

    @router.post("/worlds/{world_id}/restore", responses=answers(400, 404, 413, 429, 500), openapi_extra=STATE_BODY)
    async def restore_world(world: Annotated[ServedWorld, Depends(found)], request: Request) -> World:
        """Let a world stand where a snapshot says."""
        state = await bounded(request, worlds.most_state_bytes).body()
        await asyncio.wrap_future(worker.do(lambda: worlds.restore(world, state)))
        return worlds.describe(world)


def _pictures(frames: Frames) -> list[str]:
    """Frames as data URLs."""
    return [f"data:image/png;base64,{base64.b64encode(_png(frame)).decode()}" for frame in frames]


def _png(frame: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG", compress_level=1)
    return file.getvalue()
