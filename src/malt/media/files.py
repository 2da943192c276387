"""Files that are whole after any kill: written under another name and renamed, hashed, and locked while they are written."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from malt.errors import UsageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a draft to write; at the block's end it is on the disk and takes the place of `path`.

    Whatever ends the block early leaves `path` as it was, and no draft. Processes that write one path do not mix.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")  # the ending says the format
    try:
        yield draft
        _sync(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock, a file that is there only meanwhile; the kernel lets it go when the process ends, however it ends.

    Raises:
        UsageError: another process holds it (the sentence is `busy`), or it cannot be made.
    """
    file = _open_locked(path, busy)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def video_lock(video: Path) -> AbstractContextManager[None]:
    """Hold a video while it is written: a second process that would write it is refused in a sentence."""
    video = video.resolve()
    if video.exists() and not video.is_file():
        return nullcontext()  # a device or a pipe keeps nothing that could be lost
    return locked(
        video.with_name(f".{video.name}.lock"),
        f"another process is writing {video}; wait until it is done, or choose another name",
    )


def _open_locked(path: Path, busy: str) -> int:
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path} ({error.strerror}); choose another place") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BlockingIOError as error:
            os.close(file)
            raise UsageError(busy) from error
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # whoever held it has just removed it


def _sync(path: Path) -> None:
    """Have a file, or a folder's names, on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
