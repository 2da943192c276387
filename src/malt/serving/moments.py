"""A hand on the memory of a video in the making: what visitors send to keep, recall and forget, and what they are told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from malt.sessions.session import Session

Change = Literal["keep", "recall", "forget"]


class MemoryChange(BaseModel):
    """Keep what is remembered and seen now under a name, recall it, or forget it."""

    model_config = ConfigDict(extra="forbid")

    change: Change
    name: str
    context: bool = Field(default=True, description="Whether the kept picture comes along when it is recalled.")


class KeptMoment(BaseModel):
    """A moment that is kept under a name."""

    name: str
    frame: int
    bytes: int


class KeptMoments(BaseModel):
    """All moments of a video that are kept."""

    object: Literal["list"] = "list"
    data: list[KeptMoment]


def kept_moments(session: Session) -> KeptMoments:
    """What a session keeps."""
    kept = session.kept.values()
    return KeptMoments(data=[KeptMoment(name=each.name, frame=each.frame, bytes=each.num_bytes) for each in kept])


def change_memory(session: Session, asked: MemoryChange) -> KeptMoments:
    """Do what was asked, on the computing thread; from the next segment on it is seen.

    Raises:
        UsageError: there is no such name, or it cannot be kept.
    """
    if asked.change == "keep":
        session.keep(asked.name)
    elif asked.change == "recall":
        session.recall(asked.name, with_context=asked.context)
    else:
        session.forget(asked.name)
    return kept_moments(session)
