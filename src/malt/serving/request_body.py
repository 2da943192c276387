"""The body of a request for a video: JSON, or a form with an optional first image or video; bounded while it arrives."""

import asyncio
import base64
import binascii
import json
from contextlib import AsyncExitStack
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeVar

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from malt.errors import UsageError
from malt.serving.limits import Limits
from malt.serving.refusals import FullError
from malt.serving.uploads import Wanted, read_upload

FILES = ("input_reference", "image", "video")  # what a first image or video may be called
REFERENCES = ("input_reference", "image_reference", "video_reference")  # objects that hold one, or say where one is
MOST_FIELDS = 50
ROOM_FOR_FIELDS = 256 * 1024  # bytes of a form's fields
ROOM_FOR_JSON = 8 * 1024 * 1024  # bytes, as an image may be among them
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
Asked = TypeVar("Asked", bound=BaseModel)


class BodyReader:
    """Reads requests, and decodes few files at a time; what is slow to arrive is for `deadlines` to cut."""

    def __init__(self, limits: Limits, at_once: int = 2) -> None:
        self._limits, self._places = limits, asyncio.Semaphore(at_once)

    async def read(self, request: Request, kind: type[Asked], files: AsyncExitStack) -> tuple[Asked, IO[bytes] | None]:
        """What a request asks for, and the file that it holds, which is open as long as `files`.

        Raises:
            UsageError: it holds a file of another name, or says where on the network one is.
            RequestValidationError: it does not have the form that it should have.
            HTTPException: it is of another type (415) or too large (413).
        """
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "application/json":
            content, file = _read_json(await bounded(request, ROOM_FOR_JSON).body()), None
        elif media in FORMS:
            content, file = await self._read_form(bounded(request, self._limits.upload_bytes + ROOM_FOR_FIELDS), files)
        else:
            raise HTTPException(415, "send JSON, or a form (multipart/form-data)")
        if isinstance(content, dict):
            file = file or _embedded(content, files)
        try:
            return kind.model_validate(content), file
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False, include_context=False)) from error

    async def decode(self, file: IO[bytes], wanted: Wanted) -> np.ndarray:
        """The frames in a file.

        Raises:
            UsageError: it holds none that can be used.
        """
        async with self._places:
            return await asyncio.to_thread(read_upload, file, wanted, self._limits)

    async def _read_form(self, request: Request, files: AsyncExitStack) -> tuple[dict[str, Any], IO[bytes] | None]:
        try:
            arriving = request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=ROOM_FOR_FIELDS)
            form = await files.enter_async_context(arriving)
        except OSError as error:
            raise FullError(f"the file that was sent could not be kept ({error.strerror}); make room") from error
        content: dict[str, Any] = {}
        file = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name not in FILES:
                    raise UsageError(f"a file was sent as {name!r}; send it as one of {', '.join(FILES)}")
                file = value.file
            elif value != "":
                _put(content, name, value)
        return content, file


def _put(content: dict[str, Any], name: str, value: str) -> None:
    """Add a field of a form; `video[id]` is the id in the object video."""
    outer, bracket, inner = name.partition("[")
    if bracket and isinstance(content.setdefault(outer, {}), dict):
        content[outer][inner.removesuffix("]").removeprefix("][")] = value  # `list[][id]` is the only one in a list
    else:
        content[name] = value


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (RecursionError, ValueError) as error:
        told = {"type": "json_invalid", "loc": (), "msg": f"the body is not JSON ({str(error)[:200]})", "input": None}
        raise RequestValidationError([told]) from error


def _embedded(content: dict[str, Any], files: AsyncExitStack) -> IO[bytes] | None:
    """The image or video that a field holds as a data URL, taken out of the fields."""
    for name in REFERENCES:
        held = content.pop(name, None)
        if isinstance(held, str) and held.startswith("{"):
            held = _read_json(held.encode())
        if isinstance(held, dict):
            held = held.get("image_url") or held.get("video_url") or ""
        if held is None:
            continue
        head, comma, data = str(held).partition(",")
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise UsageError(
                f"{name} is no file; send the file itself, or a data URL: nothing is fetched from elsewhere"
            )
        file = files.enter_context(SpooledTemporaryFile(max_size=ROOM_FOR_FIELDS))  # noqa: SIM115 -- the stack closes it
        try:
            file.write(base64.b64decode(data, validate=True))
        except (binascii.Error, ValueError) as error:
            raise UsageError(f"{name} holds a data URL that is damaged ({error})") from error
        file.seek(0)
        return file
    return None


def bounded(request: Request, most: int) -> Request:
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
