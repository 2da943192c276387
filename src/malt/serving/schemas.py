"""What is asked of the server and what it answers, as they stand in its OpenAPI document.

The shapes follow the videos API of OpenAI, which SGLang and vLLM-Omni follow too.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_SEED = 2**63 - 1
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class VideoRequest(BaseModel):
    """A video to be made."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str = Field("", description='What the video shows, or "one thing [4s] | then another" in turn.')
    model: str | None = Field(None, description="Name of the model; the one that is served if left out.")
    num_frames: int | None = Field(None, ge=1, description="How many frames the video has.")
    seconds: float | None = Field(None, gt=0, description="How long it lasts, instead of num_frames.")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="The same seed makes the same video.")
    size: str | None = Field(None, pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", description='Width x height: "64x64".')
    num_inference_steps: int | None = Field(None, ge=1, description="Denoising steps; the model's own by default.")
    guidance_scale: float | None = Field(None, description="How hard the prompt is obeyed.")
    driver: str | None = Field(None, description="What acts, for models that take actions: cruise or weave.")


class VideoError(BaseModel):
    """Why a video was not made."""

    code: str
    message: str


class Video(BaseModel):
    """A video job: what was asked for, and how far it is."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Status
    progress: int = Field(ge=0, le=100, description="Per cent of the frames that are there.")
    prompt: str
    seconds: str = Field(description="How long the whole video lasts.")
    size: str = Field(description="Width x height of the frames that the model makes.")
    num_frames: int
    frames_made: int
    seed: int
    created_at: int = Field(description="Unix time.")
    completed_at: int | None = None
    error: VideoError | None = None


class VideoList(BaseModel):
    """Video jobs, latest first."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class VideoDeleted(BaseModel):
    """What is left of a video that was deleted."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Health(BaseModel):
    """Whether the server works, on what, and how busy it is."""

    status: Literal["ok"] = "ok"
    model: str
    running: int
    waiting: int


class ErrorBody(BaseModel):
    """What went wrong, in a sentence."""

    message: str
    type: str
    code: int


class ErrorAnswer(BaseModel):
    """Every answer that is not a success."""

    error: ErrorBody
