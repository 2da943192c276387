"""`malt remake`: makes a lost video again from the session that is left of it."""

import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.compiling import compile_ahead
from malt.commands.kept_session import load_session_of, notes_of
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.resume import go_on
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.media.files import video_lock
from malt.wording import counted

if TYPE_CHECKING:
    from malt.sessions.session import Session


@dataclass(frozen=True, kw_only=True)
class RemakeCommand(ModelOptions):
    """Make a video again that is lost, or damaged, from the session beside its place: the same, frame by frame."""

    video: Annotated[Path, Positional("VIDEO")]
    """Where the video was, or is, an .mp4; its session is still beside it."""
    overwrite: bool = False
    """Replace a video that is there."""

    def run(self) -> None:
        """Check, load the session and its model, and make all segments again."""
        from malt.media.output_path import check_output
        from malt.sessions.storage import session_folder
        from malt.sessions.video_binding import bound

        check_output(self.video, overwrite=self.overwrite, endings=[".mp4"])
        with interruptible(), video_lock(self.video):
            session = load_session_of(self.video, self, may_differ=True)
            if session.state.origin is not None:
                raise UsageError(
                    f"{self.video} began with given frames, which its session does not hold; malt generate it again"
                )
            notes = notes_of(session)
            compile_ahead(session)
            found = self._remake(session)
            shown, known = notes["shown"], bound(session.state.notes).get(str(session.num_frames))
            session.note(shown=session.num_frames)
            session.save(session_folder(self.video))
            told = (
                "" if known is None else ", bit for bit as before" if known == found else ", not bit for bit as before"
            )
            print(f"malt: made {counted(session.num_frames, 'frame')} of {self.video} again{told}", file=sys.stderr)
            if shown > session.num_frames:
                go_on(session, self.video, shown)

    def _remake(self, session: "Session") -> str | None:
        """Write the video up to where its session stands; give its hash."""
        from malt.commands.progress import frame_progress
        from malt.media.files import replacing
        from malt.media.pixels import to_pixels
        from malt.media.video_writer import VideoSink

        notes = notes_of(session)
        rate, scale = float(Fraction(notes["frame_rate"])), notes["scale"]
        with replacing(self.video) as draft, frame_progress() as progress:
            task = progress.add_task("making again", total=session.num_frames)
            with VideoSink(draft, frame_rate=rate, scale=scale, overwrite=True) as sink:
                for segment in session.replay(0):
                    sink.write(to_pixels(segment.frames[0]))
                    progress.update(task, completed=sink.num_frames)
                return sink.sha256_at(sink.num_frames)
