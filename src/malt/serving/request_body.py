"""The body of a request for a video: JSON, or a form with an optional first image or video; bounded while it arrives."""

import asyncio
from dataclasses import dataclass

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from malt.errors import UsageError
from malt.serving.requests import GenerationRequest, RequestValidator
from malt.serving.schemas import VideoRequest
from malt.serving.uploads import read_upload

FILES = ("input_reference", "image", "video")  # what a first image or video may be called
MOST_FIELDS = 20
ROOM_FOR_FIELDS = 256 * 1024  # bytes


@dataclass(frozen=True)
class Incoming:
    """What is to be generated, and the frames that its video is to begin with."""

    generation: GenerationRequest
    first: np.ndarray | None


class BodyReader:
    """Reads requests, few of the large ones at a time."""

    def __init__(self, validator: RequestValidator, at_once: int = 2) -> None:
        self._validator, self._limits, self._places = validator, validator.limits, asyncio.Semaphore(at_once)

    async def read(self, request: Request) -> Incoming:
        """What a request asks for.

        Raises:
            UsageError: it cannot be met.
            RequestValidationError: it does not have the form that it should have.
            HTTPException: it is of another type (415) or too large (413).
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = await _bounded(request, ROOM_FOR_FIELDS).body()
            return Incoming(self._validator.validate(_validated(body)), None)
        if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
            async with self._places:
                return await self._read_form(_bounded(request, self._limits.upload_bytes + ROOM_FOR_FIELDS))
        raise HTTPException(415, "send JSON, or a form (multipart/form-data)")

    async def _read_form(self, request: Request) -> Incoming:
        async with request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=ROOM_FOR_FIELDS) as form:
            files = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
            words = {name: value for name, value in form.multi_items() if isinstance(value, str) and value != ""}
            generation = self._validator.validate(_validated(words))
            if not files:
                return Incoming(generation, None)
            (name, file), *_ = files.items()
            if name not in FILES:
                raise UsageError(f"a file was sent as {name!r}; send it as one of {', '.join(FILES)}")
            wanted = self._validator.wanted(generation)
            return Incoming(generation, await asyncio.to_thread(read_upload, file.file, wanted, self._limits))


def _validated(content: bytes | dict[str, str]) -> VideoRequest:
    try:
        if isinstance(content, bytes):
            return VideoRequest.model_validate_json(content)
        return VideoRequest.model_validate(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from error


def _bounded(request: Request, most: int) -> Request:
    """The same request, whose body breaks off where it becomes too large."""
    left = most

    async def receive() -> Message:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"the request is larger than {most} bytes; send less")
        return message

    return Request(request.scope, receive)
