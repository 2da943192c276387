"""What goes wrong in a server, with its status, and how it is told: in OpenAI's shape, without the server's paths."""

import re

from malt.errors import MaltError, UsageError
from malt.serving.engine.work_queue import BusyError
from malt.serving.schemas import ErrorAnswer, ErrorBody

# By status: what kind of error it is, and which.
KINDS = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    409: ("invalid_request_error", "not_ready"),
    413: ("invalid_request_error", "too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    507: ("server_error", "disk_full"),
}
FOLDERS = re.compile(r"(?<![\w/:.~])/(?:[^/\s'\"]+/)+")


class FullError(MaltError):
    """There is no room on the disk, or no more of it may be used."""


class MissingError(UsageError):
    """There is no such thing."""


class NotReadyError(UsageError):
    """It is not there yet."""


STATUSES: dict[type[MaltError], int] = {
    BusyError: 429,
    FullError: 507,
    MissingError: 404,
    NotReadyError: 409,
    UsageError: 400,
    MaltError: 500,
}


def status_of(error: MaltError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def error_answer(status: int, message: str, param: str | None = None) -> dict[str, object]:
    """What an error is told as; `param` is the field of the request that is wrong."""
    kind, code = KINDS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    body = ErrorBody(message=without_folders(message), type=kind, param=param, code=code)
    return ErrorAnswer(error=body).model_dump()


def without_folders(message: str) -> str:
    """A sentence in which files have no folders: where they lie on the server is nobody's business."""
    return FOLDERS.sub("", message)
