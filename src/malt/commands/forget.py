"""`malt forget`: deletes what was kept under a name, and what a video still remembers of it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.kept_session import claimed_session_of
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.signals import interruptible


@dataclass(frozen=True, kw_only=True)
class ForgetCommand(ModelOptions):
    """Delete what malt keep kept under a name, and from the video's memory what resembles it."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video, an .mp4 with its session beside it."""
    name: Annotated[str, Positional("NAME")]
    """What it was kept as."""

    def run(self) -> None:
        """Load the session and its model, and save the session without it."""
        from malt.sessions.storage import save_session, session_folder

        with interruptible(), claimed_session_of(self.video, self) as session:
            session.forget(self.name)
            save_session(session_folder(self.video), session.state)
            print(f"malt: {self.video} has forgotten {self.name!r}", file=sys.stderr)
