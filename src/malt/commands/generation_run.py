"""A video in the making: segments go to the file, the session beside it, the progress to the screen."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from malt.wording import counted

if TYPE_CHECKING:
    from malt.media.video_writer import VideoSink
    from malt.rollouts.base import ActionPolicy, Segment
    from malt.sessions.run_report import RunReport
    from malt.sessions.session import Session
    from malt.sessions.session_state import SessionState


@dataclass(frozen=True, kw_only=True)
class GenerationRun:
    """A video in the making.

    end: how many frames it is to have, None for one without end. folder: where its session is kept, None for nowhere.
    report: what collects the run's figures, and `report_to` the file they go to.
    """

    session: "Session"
    sink: "VideoSink"
    report: "RunReport"
    end: int | None = None
    folder: Path | None = None
    driver: "ActionPolicy | None" = None
    report_to: Path | None = None

    def run(self, given: "Iterable[Segment]" = ()) -> None:
        """Write `given` segments, the session's first, and then make more until the end; say what became of it."""
        from malt.commands.progress import frame_progress

        try:
            with self.sink, frame_progress() as progress:
                task = progress.add_task("generating", total=self.end, completed=self.sink.num_frames)
                for segment in given:
                    self._write(segment)
                    progress.update(task, completed=self.sink.num_frames)
                before = self.session.state
                if self.session.num_frames and self.session.num_frames == self.sink.num_frames:
                    before = self._bound()
                    self._save(before)
                for segment in self.session.stream(self.end, self.driver):
                    self._write(segment)
                    # A segment of which only a part is shown is made again, whole, when the video goes on.
                    before = self._bound() if self.session.num_frames == self.sink.num_frames else before
                    self._save(before)
                    progress.update(task, completed=self.sink.num_frames)
        except KeyboardInterrupt:
            if self.end is not None or not self.sink.num_frames:
                raise
        finally:
            print(self._outcome(), file=sys.stderr)
            if self.report_to is not None:
                self.report.write(self.report_to)

    def _write(self, segment: "Segment") -> None:
        from malt.media.pixels import to_pixels

        frames = segment.frames[0] if self.end is None else segment.frames[0, : self.end - segment.start]
        self.sink.write(to_pixels(frames))
        self.report.add_segment(num_frames=len(frames), memory_bytes=segment.memory_bytes)

    def _bound(self) -> "SessionState":
        """The session's state, which knows its video so far."""
        from malt.sessions.video_binding import bind

        self.session.state = bind(self.session.state, self.sink.sha256_at(self.sink.num_frames))
        return self.session.state

    def _save(self, state: "SessionState") -> None:
        """Keep the session, behind the frames that it speaks of."""
        from malt.sessions.storage import save_session

        if self.folder is not None:
            self.sink.sync()
            save_session(self.folder, replace(state, notes=state.notes | {"shown": self.sink.num_frames}))

    def _outcome(self) -> str:
        sink, how_much = self.sink, f"({self.sink.seconds:.1f} s)"
        if sink.num_frames == 0:
            return f"malt: ended before the first segment; nothing was written to {sink.path}"
        if self.end is None:
            return f"malt: stopped after {counted(sink.num_frames, 'frame')} {how_much}, kept in {sink.path}"
        if sink.num_frames < self.end:
            kept = f"kept in {sink.path}{self._how_to_go_on()}"
            return f"malt: ended early, after {sink.num_frames} of {counted(self.end, 'frame')} {how_much}, {kept}"
        rate = f"{self.report.frames_per_second:.1f} frames/s"
        return f"malt: wrote {counted(self.end, 'frame')} {how_much} to {sink.path} at {rate}"

    def _how_to_go_on(self) -> str:
        from malt.sessions.storage import INDEX

        if self.folder is None or not (self.folder / INDEX).is_file():
            return ""
        return f"; malt resume {self.sink.path} goes on"
