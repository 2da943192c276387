"""What is asked of the server's worlds and what it answers, as they stand in its OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from malt.serving.schemas import MAX_SEED

MOST_NUMBERS = 4096  # in a list of a request


class WorldRequest(BaseModel):
    """A world to act in."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(default="", description="What it shows; may be empty for models that take actions.")
    model: str | None = Field(default=None, description="Name of the model; the one that is served if left out.")
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="The same seed and actions show the same; drawn by default."
    )
    by_frame: bool = Field(
        default=False,
        description="Whether a step is one frame, not a segment's worth; each change of action makes a segment again.",
    )


class WorldStepRequest(BaseModel):
    """What is done next."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    actions: list[float] | list[list[float]] | None = Field(
        default=None,
        max_length=MOST_NUMBERS,
        description="A number from -1 to 1 for each action, held for the whole step; or a list of those for each frame.",
    )
    prompt: str | None = Field(default=None, description="What it shows from now on; as before if left out.")


class WorldForkRequest(BaseModel):
    """How many copies there are to be."""

    model_config = ConfigDict(extra="forbid")

    copies: int = Field(
        default=1, ge=1, description="At most as many as there is room for: `max_worlds`, less those there are."
    )


class World(BaseModel):
    """A world: what it shows and how far it is."""

    id: str
    object: Literal["world"] = "world"
    model: str
    prompt: str
    seed: int
    by_frame: bool
    num_frames: int = Field(description="How many frames it has shown.")
    created_at: int = Field(description="Unix time.")
    expires_at: int = Field(description="When it is deleted, if nobody steps it before.")
    forked_from: str | None = None


class WorldSpec(BaseModel):
    """What worlds are here, and how many there may be: known before there is any."""

    action_names: list[str]
    frames_per_step: int
    frame_rate: float
    size: str = Field(description="Width x height of a frame.")
    session_bytes: int = Field(description="What a world takes, at most.")
    max_worlds: int
    max_batch: int = Field(description="How many worlds go on in one forward pass.")


class WorldList(BaseModel):
    """The worlds that there are, latest first, and what holds of all of them."""

    object: Literal["list"] = "list"
    data: list[World]
    spec: WorldSpec


class WorldFrames(BaseModel):
    """What a step shows."""

    id: str
    object: Literal["world.frames"] = "world.frames"
    start: int = Field(description="Number of the first of them.")
    num_frames: int = Field(description="How many frames the world has shown, these included.")
    frames: list[str] = Field(description="Data URLs of PNG pictures.")


class WorldDeleted(BaseModel):
    """What is left of a world that was deleted."""

    id: str
    object: Literal["world.deleted"] = "world.deleted"
    deleted: Literal[True] = True
