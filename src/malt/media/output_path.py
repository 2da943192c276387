"""Whether a file can be written, found out before any work is done."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from malt.errors import UsageError

MAX_NAME = 220  # bytes: what is kept beside a file has a longer name, and 255 is the most that file systems take


def check_output(path: Path, *, overwrite: bool = False, endings: Iterable[str] = ()) -> None:
    """Raise a `UsageError` if `path` cannot be written, or exists and is not to be overwritten.

    The file is opened without touching what it holds; a file made only to find out is removed again.
    """
    allowed = tuple(endings)
    if allowed and path.suffix.lower() not in allowed:
        raise UsageError(f"cannot tell the format of {path} by its ending; use one of {', '.join(allowed)}")
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder; give the name of a file")
    if not os.path.isdir(path.parent):
        raise UsageError(f"the folder {path.parent} does not exist; make it first or choose another")
    if len(os.fsencode(path.name)) > MAX_NAME:
        raise UsageError(f"the name {path.name[:20]}... is too long; give one of at most {MAX_NAME} characters")
    existed = os.path.exists(path)
    if existed and stat.S_ISFIFO(os.stat(path).st_mode):
        raise UsageError(f"{path} is a pipe, and videos are written to files; give the name of one")
    if existed and not overwrite:
        raise UsageError(f"{path} exists and is kept; choose another name or pass --overwrite")
    _open_for_writing(path)
    if not existed:
        path.unlink()


def _open_for_writing(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}); choose another place") from error
