"""`malt keep`: gives a moment of a video a name, under which what is remembered and seen there can be recalled."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.checks import check_count
from malt.commands.kept_session import claimed_session_of
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.signals import interruptible


@dataclass(frozen=True, kw_only=True)
class KeepCommand(ModelOptions):
    """Keep what a video remembers and shows under a name; it outlasts whatever comes after it."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video, an .mp4 with its session beside it."""
    name: Annotated[str, Positional("NAME")]
    """What to call it, as in "the yard"."""
    at: int | None = None
    """The frame at whose border, or the last before it, it is kept; where the video stands by default."""

    def run(self) -> None:
        """Check, load the session and its model, and save the session with one moment more."""
        from malt.sessions.storage import save_session, session_folder

        with interruptible():
            check_count("--at", self.at)
            with claimed_session_of(self.video, self) as session:
                moment = session.keep(self.name, at=self.at)
                save_session(session_folder(self.video), session.state)
                size = f"{moment.num_bytes / 1e6:.1f} MB"
                print(f"malt: {moment.name!r} is kept of {self.video} at frame {moment.frame}, {size}", file=sys.stderr)
