"""What the page fetches of a take: any frame that was made, the map of a walk, and video and session as files."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from malt.errors import UsageError
from malt.serving.refusals import MissingError
from malt.sessions.storage import session_folder
from malt.studio.beginning import maze_of
from malt.studio.maze_walk import maze_map, walks
from malt.studio.take import Take
from malt.studio.visitors import Studio

CHUNK = 64 * 1024


def file_routes(studio: Studio) -> APIRouter:
    """The routes of a take; the key of its visit is part of every path."""
    router = APIRouter(prefix="/studio/{key}/{number}", include_in_schema=False)

    def find(key: str, number: int, *, made: bool = False) -> Take:
        take = studio.find(key).store.takes.get(number)
        if take is None:
            raise MissingError("there is no such take")
        if made and not take.made:
            raise MissingError("there is nothing yet of this take")
        return take

    @router.get("/{revision}/{frame}.jpg")
    def strip(key: str, number: int, revision: int, frame: int) -> Response:
        take = find(key, number)
        if revision != take.revision:
            raise MissingError("the take was cut since")
        try:
            found = take.strip(frame)
        except UsageError as error:
            raise HTTPException(404, str(error)) from error
        about = {"X-Start": str(found.start), "X-Count": str(found.length), "Cache-Control": "private, max-age=3600"}
        return Response(found.jpeg, media_type="image/jpeg", headers=about)

    @router.get("/map.json")
    def walked(key: str, number: int, start: int = 0) -> dict[str, object]:
        session = find(key, number).session
        if not walks(session.pipe.action_names):
            raise MissingError("nobody walks in this take")
        return maze_map(session.state.actions, maze_of(session), max(0, start))

    @router.get("/video.mp4")
    def video(key: str, number: int) -> Response:
        take = find(key, number, made=True)
        size = take.kept.segment_end.byte
        about = {"Content-Length": str(size), **_as_file(f"malt-take-{number}.mp4")}
        return StreamingResponse(_beginning(take.path.open("rb"), size), media_type="video/mp4", headers=about)

    @router.get("/session.zip")
    def session(key: str, number: int) -> Response:
        take = find(key, number, made=True)
        files = studio.worker.do(lambda: _saved(take)).result()
        return StreamingResponse(
            _zipped(files), media_type="application/zip", headers=_as_file(f"malt-take-{number}.zip")
        )

    return router


def _as_file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _beginning(file: IO[bytes], size: int) -> Iterator[bytes]:
    with file:
        while size and (chunk := file.read(min(size, CHUNK))):
            size -= len(chunk)
            yield chunk


def _saved(take: Take) -> list[tuple[str, IO[bytes], int]]:
    """The video and its session as they are now: names in the archive, open files, and their lengths."""
    take.save()
    name, folder = f"take-{take.number}", session_folder(take.path)
    paths: list[tuple[str, Path]] = [(f"{name}.session/{path.name}", path) for path in sorted(folder.iterdir())]
    sizes = [take.kept.segment_end.byte, *(path.stat().st_size for _, path in paths)]
    named = [(f"{name}.mp4", take.path), *paths]
    return [(inside, path.open("rb"), size) for (inside, path), size in zip(named, sizes, strict=True)]


def _zipped(files: list[tuple[str, IO[bytes], int]]) -> Iterator[bytes]:
    """An archive of open files, which they are unpacked from as `malt resume` takes them; of them, a piece is held at a time."""
    pieces = _Pieces()
    with ExitStack() as opened, zipfile.ZipFile(pieces, "w") as archive:  # type: ignore[call-overload]
        for _, file, _ in files:
            opened.enter_context(file)
        for inside, file, size in files:
            with archive.open(inside, "w", force_zip64=True) as entry:
                for chunk in _beginning(file, size):
                    entry.write(chunk)
                    yield pieces.take()
        archive.close()
        yield pieces.take()


class _Pieces:
    """A file that is written to, and hands on what was written."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def take(self) -> bytes:
        """What was written since the last call."""
        data, self._held = b"".join(self._held), []
        return data
