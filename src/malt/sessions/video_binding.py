"""Binds a session to its video: a hash of the file up to each border at which the session can stand.

So neither is gone on with beside another's: a model makes many videos of one size, which fit together but for this.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from malt.errors import MaltError
from malt.sessions.session_state import SessionState

NOTE = "video_sha256"  # frame, as text -> SHA-256 of the file up to where it begins
CHUNK = 2**20  # bytes


def bind(state: SessionState, sha256: str | None) -> SessionState:
    """The state that knows how its video begins up to where it stands; None where that is not known."""
    borders = {str(snapshot.start) for snapshot in state.snapshots if snapshot.start < state.now.start}
    known = {frame: found for frame, found in bound(state.notes).items() if frame in borders}
    return replace(state, notes=state.notes | {NOTE: known | ({str(state.now.start): sha256} if sha256 else {})})


def bound(notes: Mapping[str, object]) -> dict[str, str]:
    """What a session knows of its video; nothing where it was kept by a version that bound none."""
    known = notes.get(NOTE)
    return known if isinstance(known, dict) else {}


def check_bound(video: Path, notes: Mapping[str, object], end_of: Callable[[int], int]) -> None:
    """Compare a video with what its session knows of it.

    Args:
        video: the file; it may be cut.
        notes: those of the session.
        end_of: where in the file a frame's predecessor ends; raises a `MaltError` where there is no such border.

    Raises:
        MaltError: it is another video.
    """
    for frame, sha256 in sorted(bound(notes).items(), key=lambda item: -int(item[0])):
        try:
            end = end_of(int(frame))
        except MaltError:
            continue
        if hash_beginning(video, end) != sha256:
            raise MaltError(
                f"{video} is not the video of its session, which wrote another; put that one back in its place"
            )
        return


def hash_beginning(file: Path, length: int) -> str:
    """SHA-256 of the first bytes of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while length > 0 and (data := opened.read(min(CHUNK, length))):
            digest.update(data)
            length -= len(data)
    return digest.hexdigest()
