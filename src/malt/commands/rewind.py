"""`malt rewind`: takes a video back to an earlier frame, from which it can then go on."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.checks import check_count
from malt.commands.kept_session import claimed_session_of, end_of_session, load_session_of, open_sink
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import MaltError, UsageError
from malt.media.files import replacing, video_lock

if TYPE_CHECKING:
    from malt.sessions.session import Session

CHUNK = 2**20  # bytes copied at a time


@dataclass(frozen=True, kw_only=True)
class RewindCommand(ModelOptions):
    """Take a video back to the border between segments at a frame, or the last before it."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video, an .mp4 with its session beside it."""
    to: int
    """The frame to go back to; what comes after it is cut off."""
    out: Path | None = None
    """Leave the video as it is, and write its beginning here."""
    overwrite: bool = False
    """Replace files that exist."""

    def run(self) -> None:
        """Check, load the session and its model, and cut session and video."""
        with interruptible():
            check_count("--to", self.to)
            frame = self._cut() if self.out is None else self._copy(self.out)
            print(f"malt: {self.out or self.video} goes back to frame {frame}", file=sys.stderr)

    def _cut(self) -> int:
        from malt.sessions.storage import save_session, session_folder

        with claimed_session_of(self.video, self) as session:
            take_back(session, self.to)
            with open_sink(self.video, session) as sink:
                save_session(session_folder(self.video), session.state)
                sink.cut()
            return session.num_frames

    def _copy(self, out: Path) -> int:
        check_copy(self.video, out, overwrite=self.overwrite)
        session = load_session_of(self.video, self)
        take_back(session, self.to)
        with video_lock(out):
            copy_beginning(session, self.video, out)
        return session.num_frames


def take_back(session: "Session", frame: int) -> None:
    """Rewind a session whose video is to keep at least one segment.

    Raises:
        UsageError: nothing would be left, or the frame has not been made yet.
    """
    if session.rewind(frame) == 0:
        raise UsageError(f"there is nothing before frame {frame}, which is in the first segment; use malt generate")
    session.note(shown=session.num_frames)


def check_copy(video: Path, out: Path, *, overwrite: bool) -> None:
    """Find out whether the beginning of `video` can be written to `out`.

    Raises:
        UsageError: it cannot.
    """
    from malt.media.output_path import check_output
    from malt.sessions.storage import session_folder

    if out.resolve() == video.resolve():
        raise UsageError(f"{out} is the video itself; choose another name")
    check_output(out, overwrite=overwrite, endings=[".mp4"])
    if session_folder(out).exists() and not overwrite:
        raise UsageError(f"{session_folder(out)} exists and is kept; choose another name or pass --overwrite")


def copy_beginning(session: "Session", video: Path, out: Path) -> None:
    """Write what a session speaks of, from its `video`, to a file of its own with the session beside it.

    Raises:
        MaltError: it cannot be written, as on a full disk.
    """
    from malt.sessions.storage import forget_session, save_session, session_folder

    length = end_of_session(video, session)
    forget_session(session_folder(out))
    try:
        with replacing(out) as draft, video.open("rb") as source, draft.open("wb") as copy:
            for start in range(0, length, CHUNK):
                copy.write(source.read(min(CHUNK, length - start)))
    except OSError as error:
        raise MaltError(f"could not write {out} ({error.strerror}); make room or choose another place") from error
    save_session(session_folder(out), session.state)
