"""What is asked of the server and what it answers, as they stand in its OpenAPI document.

The shapes follow the videos API of OpenAI, which SGLang and vLLM-Omni follow too.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_SEED = 2**63 - 1
MAX_SIDE = 99_999
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class Reference(BaseModel):
    """A video or a character of this server."""

    id: str


class VideoRequest(BaseModel):
    """A video to be made. Fields that are not known are left out, and named in the answer."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    prompt: str = Field(default="", description='What the video shows, or "one thing [4s] | then another" in turn.')
    model: str | None = Field(default=None, description="Name of the model; the one that is served if left out.")
    num_frames: int | None = Field(default=None, ge=1, description="How many frames the video has.")
    seconds: float | None = Field(default=None, gt=0, description="How long it lasts, instead of num_frames.")
    fps: float | None = Field(default=None, ge=1, le=120, description="Frames a second; the model's own by default.")
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="The same seed makes the same video; drawn by default."
    )
    size: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$",
        description='Width x height: "64x64"; where that cannot be made, the nearest of its shape that can.',
    )
    width: int | None = Field(default=None, ge=1, le=MAX_SIDE, description="Instead of size, together with height.")
    height: int | None = Field(default=None, ge=1, le=MAX_SIDE, description="Instead of size, together with width.")
    num_inference_steps: int | None = Field(
        default=None, ge=1, description="Denoising steps; the model's own by default."
    )
    guidance_scale: float | None = Field(default=None, description="How hard the prompt is obeyed.")
    negative_prompt: str | None = Field(default=None, description="What the video is led away from.")
    characters: list[Reference] = Field(
        default=[], max_length=1, description="What it remembers from its beginning: a character that was sent before."
    )
    driver: str | None = Field(default=None, description="What acts, for models that take actions: cruise, or explore.")

    @field_validator("characters", mode="before")
    @classmethod
    def _as_list(cls, given: object) -> object:
        return [given] if isinstance(given, dict) else given


class CharacterRequest(BaseModel):
    """A character to be kept."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="What it is called.")


class Character(BaseModel):
    """What videos to come can remember."""

    id: str
    object: Literal["character"] = "character"
    name: str
    created_at: int = Field(description="Unix time.")


class CharacterDeleted(BaseModel):
    """What is left of a character that was deleted."""

    id: str
    object: Literal["character.deleted"] = "character.deleted"
    deleted: Literal[True] = True


class ContinuedRequest(BaseModel):
    """A video that begins as another does."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    prompt: str = Field(default="", description="What it shows from there on, in place of what was to come.")
    video: Reference | None = Field(default=None, description="The other video; a form may hold a file instead.")
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="Of what comes; that of the other video by default."
    )


class ExtendRequest(ContinuedRequest):
    """A whole video, and so much more."""

    seconds: float | None = Field(default=None, gt=0, description="How much longer it is.")
    num_frames: int | None = Field(default=None, ge=1, description="How many more frames it has, instead of seconds.")


class EditRequest(ContinuedRequest):
    """A video as long as another, and another from a frame on."""

    frame: int = Field(
        0, ge=0, description="Where they part: at the border between segments there, or the last before it."
    )


class RemixRequest(BaseModel):
    """A video as another, from its beginning, with another prompt."""

    model_config = ConfigDict(extra="allow")

    prompt: str


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
    expires_at: int | None = Field(
        default=None, description="When it is deleted; never, if the server keeps videos for good."
    )
    error: VideoError | None = None
    remixed_from_video_id: str | None = Field(
        default=None, description="The video that it goes on from, or is another of."
    )
    remarks: list[str] = Field(
        [], description="What is worth knowing: words and fields that are not known, another size."
    )


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


class ServedModel(BaseModel):
    """A model, by a name that requests may give it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When this server began.")
    owned_by: str = "malt"


class ModelList(BaseModel):
    """The names of what is served."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


class Health(BaseModel):
    """Whether the server works, on what, and how busy it is."""

    status: Literal["ok", "degraded"] = "ok"
    model: str
    running: int
    waiting: int
    silent_seconds: float = Field(
        default=0.0, description="For how long nothing has been finished, though there is work."
    )
    workers: int = Field(default=1, description="Processes that compute.")


class ErrorBody(BaseModel):
    """What went wrong, in a sentence, in the shape of OpenAI's errors."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """Every answer that is not a success."""

    error: ErrorBody
