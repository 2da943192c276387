"""`malt resume`: goes on with a video where it stopped, exactly as if it never had."""

import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.actions import choose_policy
from malt.commands.checks import check_above_zero, check_count, check_one_of
from malt.commands.compiling import compile_ahead
from malt.commands.generation_run import GenerationRun
from malt.commands.kept_session import change_prompt, claimed_session_of, notes_of, open_sink
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.wording import counted

if TYPE_CHECKING:
    from malt.sessions.session import Session


@dataclass(frozen=True, kw_only=True)
class ResumeCommand(ModelOptions):
    """Go on with a video that malt generate wrote with its session: to its planned end, or beyond."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video, an .mp4 with its session beside it."""
    frames: int | None = None
    """How many frames the whole video is to have; as many as were planned by default."""
    seconds: float | None = None
    """How long the whole video is to last, instead of the number of frames."""
    forever: bool = False
    """Go on until Ctrl-C; everything made so far is kept."""
    prompt: str | None = None
    """What the video shows from here on, instead of what was to come."""
    actions: Path | None = None
    """A CSV file with what is done in each frame, from the video's first on; the same as before by default."""
    policy: str | None = None
    """What acts instead, as for malt generate; the same as before by default."""
    report: Path | None = None
    """Where to write figures of the run, as JSON."""

    def run(self) -> None:
        """Check, load the session and its model, and make what is missing."""
        with interruptible():
            self._check()
            with claimed_session_of(self.video, self) as session:
                end = self._end(session)
                if self.prompt is not None:
                    change_prompt(session, self.prompt, end)
                go_on(session, self.video, end, actions=self.actions, policy=self.policy, report_to=self.report)

    def _check(self) -> None:
        check_one_of(frames=self.frames, seconds=self.seconds, forever=self.forever)
        check_one_of(actions=self.actions, policy=self.policy)
        check_count("--frames", self.frames)
        check_above_zero("--seconds", self.seconds)
        if self.report is not None:
            from malt.media.output_path import check_output

            check_output(self.report)

    def _end(self, session: "Session") -> int | None:
        notes = notes_of(session)
        if self.seconds is not None:
            return max(1, round(self.seconds * float(Fraction(notes["frame_rate"]))))
        planned = notes["planned"]
        return None if self.forever else self.frames or planned


def go_on(
    session: "Session",
    video: Path,
    end: int | None,
    *,
    actions: Path | None = None,
    policy: str | None = None,
    report_to: Path | None = None,
) -> None:
    """Make a session's video go on to frame `end`, driven as it was or as is said now.

    Raises:
        UsageError: the video is longer already, or what drives it does not fit.
    """
    from malt.sessions.run_report import RunReport
    from malt.sessions.storage import session_folder

    notes = notes_of(session)
    shown = notes["shown"]  # the last segment may be shown in part; it is made again, whole, when the video goes on
    if end is not None and end < shown:
        raise UsageError(f"{video} has {counted(shown, 'frame')} already; give more, or take it back by malt rewind")
    if end == shown:
        print(
            f"malt: {video} has {counted(end, 'frame')}, all of them; to go on, give more with --frames",
            file=sys.stderr,
        )
        return
    if actions is None and policy is None:
        actions, policy = Path(notes["actions"]) if notes["actions"] else None, notes["driver"]
    sink = open_sink(video, session)
    chosen = choose_policy(
        session.pipe.action_names,
        policy=policy,
        actions=actions,
        seed=notes["seed"],
        frame_rate=float(Fraction(notes["frame_rate"])),
        start=session.num_frames,
        end=end,
    )
    session.note(planned=end, driver=policy, actions=None if actions is None else str(actions.resolve()))
    compile_ahead(session)
    report = RunReport(prompt=session.prompt, seed=notes["seed"], checkpoint=session.state.model.name)
    GenerationRun(
        session=session,
        sink=sink,
        report=report,
        end=end,
        folder=session_folder(video),
        driver=chosen,
        report_to=report_to,
    ).run()
