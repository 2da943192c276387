"""What the verbs that make a video share: segments go to the file, the session beside it, the progress to the screen."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malt.commands.checks import check_count
from malt.commands.model_options import ModelOptions, check_lora, find_model, load_model
from malt.errors import MaltError, UsageError

if TYPE_CHECKING:
    from malt.media.video_writer import VideoSink
    from malt.rollouts.base import ActionPolicy, Segment
    from malt.sessions.run_report import RunReport
    from malt.sessions.session import Session
    from malt.sessions.session_state import SessionState


# What malt generate notes with a session: how the file is written, how long it is planned and is, what drives the model.
NOTES = {"frame_rate", "scale", "planned", "shown", "seed", "checkpoint", "actions", "driver"}


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
                    self._save(before)
                for segment in self.session.stream(self.end, self.driver):
                    self._write(segment)
                    # A segment of which only a part is shown is made again, whole, when the video goes on.
                    self._save(self.session.state if self.session.num_frames == self.sink.num_frames else before)
                    before = self.session.state
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
            return f"malt: stopped; the {sink.num_frames} frames {how_much} are kept in {sink.path}"
        if sink.num_frames < self.end:
            kept = f"the first {sink.num_frames} of {self.end} frames {how_much} are kept in {sink.path}"
            return f"malt: ended early; {kept}{self._how_to_go_on()}"
        rate = f"{self.report.frames_per_second:.1f} frames/s"
        return f"malt: wrote {self.end} frames {how_much} to {sink.path} at {rate}"

    def _how_to_go_on(self) -> str:
        from malt.sessions.storage import INDEX

        if self.folder is None or not (self.folder / INDEX).is_file():
            return ""
        return f"; malt resume {self.sink.path} goes on"


def choose_policy(
    names: Sequence[str],
    *,
    driver: str | None,
    actions: Path | None,
    seed: int,
    frame_rate: float,
    start: int,
    end: int | None,
) -> "ActionPolicy | None":
    """What drives a model whose actions have these names: a file, or a driver that comes with malt; None where none have.

    Raises:
        UsageError: nothing drives a model that acts, something drives one that does not, or the file does not fit.
    """
    from malt.sessions.action_policies import build_policy

    if not names:
        if driver or actions:
            raise UsageError("this model takes no actions; leave --actions and --driver out, or choose another --model")
        return None
    if actions is not None:
        return _script(names, actions, start, end)
    if driver is None:
        raise UsageError(f"this model acts ({', '.join(names)}); give --actions FILE or --driver cruise")
    return build_policy(driver, names, frame_rate=frame_rate, seed=seed, start=start)


def count_actions(path: Path) -> int:
    """For how many frames a file has actions."""
    from malt.media.actions_csv import read_actions

    return len(read_actions(path).values)


def open_sink(video: Path, session: "Session") -> "VideoSink":
    """The video of a session, to go on where the session stands.

    Raises:
        MaltError: the video is not the one that the session wrote.
    """
    from malt.media.video_writer import VideoSink

    notes, settings = session.state.notes, session.state.settings
    if not video.is_file():
        raise MaltError(f"there is a session, but no video {video}; put the video back in its place")
    size = settings["height"], settings["width"]
    rate, scale = float(Fraction(notes["frame_rate"])), notes["scale"]
    return VideoSink.go_on(video, session.num_frames, frame_rate=rate, scale=scale, size=size)


def read_session_of(video: Path) -> dict[str, Any]:
    """What the session beside a video says of itself, without loading it.

    Raises:
        UsageError: there is no session, or it is not one of malt generate.
        MaltError: it is damaged.
    """
    from malt.sessions.storage import read_index, session_folder

    index = read_index(session_folder(video))
    if not index["notes"].keys() >= NOTES:
        raise UsageError(f"the session {session_folder(video)} was not kept by malt generate; go on with it in Python")
    return index


def load_session_of(video: Path, where: ModelOptions) -> "Session":
    """The session beside a video, with the model that made it: the one it was made with, unless another place is said.

    Raises:
        UsageError: there is no session, or its model is gone.
        MaltError: it is damaged, or the model is another.
    """
    from malt.sessions.session import Session
    from malt.sessions.storage import session_folder

    check_count("--threads", where.threads)
    check_lora(where.lora)
    notes = read_session_of(video)["notes"]
    noted = notes["checkpoint"]
    checkpoint = find_model(where.model, where.checkpoint)
    if checkpoint is None and noted is not None:
        if not Path(noted).is_dir():
            raise UsageError(f"the model in {noted} made {video} and is gone; say where it is, with --checkpoint")
        checkpoint = Path(noted)
    lora = where.lora or _noted_lora(notes.get("lora"), video)
    pipe = load_model(checkpoint, lora=lora, device=where.device, threads=where.threads)
    return Session.load(session_folder(video), pipe)


def _noted_lora(noted: str | None, video: Path) -> Path | None:
    if noted is None:
        return None
    if not Path(noted).exists():
        raise UsageError(f"the LoRA {noted} made {video} and is gone; say where it is, with --lora")
    return Path(noted)


def _script(wanted: Sequence[str], path: Path, start: int, end: int | None) -> "ActionPolicy":
    import torch

    from malt.media.actions_csv import read_actions
    from malt.sessions.action_policies import ReplayPolicy, arrange

    names, values = read_actions(path)
    if end is None or len(values) < end:
        how_many = "a video without end" if end is None else f"{end} frames"
        raise UsageError(f"{path} has actions for {len(values)} frames, not for {how_many}; give one row a frame")
    return ReplayPolicy(arrange(names, torch.from_numpy(values), wanted), start)
