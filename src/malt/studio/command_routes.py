"""What a visitor asks for: a request for each button of the page, answered once it is done or in a sentence."""

import asyncio
import secrets
from tempfile import SpooledTemporaryFile

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from malt.errors import UsageError
from malt.rollouts.registry import ROLLOUTS
from malt.serving.moments import MemoryChange
from malt.studio.beginning import GenerationSettings
from malt.studio.visitor import Visitor
from malt.studio.visitors import Studio

MOST_SEED = 2**31 - 1
FIRST = "first.npy"  # the frames that a visitor has sent to begin with
IN_MEMORY = 2**20  # bytes of an upload, beyond which it goes to the disk
AT_ONCE = 2  # uploads that are decoded
Answer = dict[str, object]


class Asked(BaseModel):
    """What the page sends; nothing that is not understood is passed over."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Begin(Asked):
    """A new video. frames: how many to make, None until it is stopped. first: whether it begins with what was sent."""

    model: str
    prompt: str = ""
    frames: int | None = None
    seed: int | None = Field(default=None, ge=0, le=MOST_SEED)
    rollout: str = "malt"
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    first: bool = False
    maze: int | None = Field(default=None, ge=0, le=MOST_SEED)


class GoOn(Asked):
    """More of a video, or another prompt for it."""

    prompt: str = ""
    frames: int | None = None


class Rewind(Asked):
    """The frame to which a video goes back."""

    frame: int = Field(ge=0)


class Branch(GoOn, Rewind):
    """Another future from a frame on."""


class TakeNumber(Asked):
    """One of the takes."""

    take: int


def command_routes(studio: Studio) -> APIRouter:
    """The routes under /studio by which something is done."""
    router = APIRouter(prefix="/studio", include_in_schema=False)
    _add_models(router, studio)
    _add_making(router, studio)
    _add_cutting(router, studio)
    _add_upload(router, studio)
    return router


def _add_models(router: APIRouter, studio: Studio) -> None:
    @router.get("/models")
    def models() -> Answer:
        return {"models": studio.models.names, "rollouts": list(ROLLOUTS)}

    @router.get("/models/{name}")
    def model(name: str) -> Answer:
        return studio.models.get(name).describe()


def _add_making(router: APIRouter, studio: Studio) -> None:
    @router.post("/visits")
    def visit() -> Answer:
        return {"key": studio.welcome()}

    @router.post("/{key}/begin")
    def begin(key: str, asked: Begin) -> Answer:
        visitor, model = studio.find(key), studio.models.get(asked.model)
        seed = secrets.randbelow(MOST_SEED + 1) if asked.seed is None else asked.seed
        settings = GenerationSettings(
            prompt=asked.prompt,
            num_frames=asked.frames,
            seed=seed,
            rollout=asked.rollout,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance or None,
            first=_sent(visitor) if asked.first else None,
            maze=asked.maze,
        )
        visitor.begin(model, settings)
        return {"seed": seed}

    @router.post("/{key}/go-on")
    def go_on(key: str, asked: GoOn) -> Answer:
        studio.find(key).go_on(asked.prompt, asked.frames)
        return {}

    @router.post("/{key}/stop")
    def stop(key: str) -> Answer:
        studio.find(key).stop()
        return {}

    @router.post("/{key}/branch")
    def branch(key: str, asked: Branch) -> Answer:
        studio.find(key).branch(asked.frame, secrets.randbelow(MOST_SEED + 1), asked.prompt, asked.frames)
        return {}


def _add_cutting(router: APIRouter, studio: Studio) -> None:
    @router.post("/{key}/rewind")
    def rewind(key: str, asked: Rewind) -> Answer:
        return {"frame": studio.find(key).rewind(asked.frame)}

    @router.post("/{key}/memory")
    def memory(key: str, asked: MemoryChange) -> Answer:
        studio.find(key).change_memory(asked)
        return {}

    @router.post("/{key}/choose")
    def choose(key: str, asked: TakeNumber) -> Answer:
        studio.find(key).choose(asked.take)
        return {}

    @router.post("/{key}/drop")
    def drop(key: str, asked: TakeNumber) -> Answer:
        studio.find(key).drop(asked.take)
        return {}

    @router.post("/{key}/undo")
    def undo(key: str) -> Answer:
        studio.find(key).undo()
        return {}

    @router.post("/{key}/redo")
    def redo(key: str) -> Answer:
        studio.find(key).undo(again=True)
        return {}


def _add_upload(router: APIRouter, studio: Studio) -> None:
    decoding = asyncio.Semaphore(AT_ONCE)

    @router.put("/{key}/first")
    async def first(key: str, model: str, request: Request) -> Answer:
        visitor, chosen = studio.find(key), await asyncio.to_thread(studio.models.get, model)
        with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            async for piece in request.stream():
                file.write(piece)
                if file.tell() > studio.limits.upload_bytes:
                    raise HTTPException(413, f"the file is larger than {studio.limits.upload_bytes} bytes; send less")
            file.seek(0)
            async with decoding:
                frames = await asyncio.to_thread(studio.read_first, file, chosen)
        visitor.folder.mkdir(exist_ok=True)
        np.save(visitor.folder / FIRST, frames, allow_pickle=False)
        return {"frames": len(frames)}


def _sent(visitor: Visitor) -> np.ndarray:
    """The frames that a visitor has sent to begin with."""
    try:
        frames: np.ndarray = np.load(visitor.folder / FIRST, allow_pickle=False)
    except OSError as error:
        raise UsageError("there is nothing to begin with; send the picture or video first") from error
    return frames
