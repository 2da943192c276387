"""`malt recall`: lets a video go on from what was kept under a name."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.kept_session import claimed_session_of
from malt.commands.model_options import ModelOptions
from malt.commands.option import Positional
from malt.commands.signals import interruptible


@dataclass(frozen=True, kw_only=True)
class RecallCommand(ModelOptions):
    """Let a video remember what malt keep kept under a name; malt resume then goes on from it."""

    video: Annotated[Path, Positional("VIDEO")]
    """The video, an .mp4 with its session beside it."""
    name: Annotated[str, Positional("NAME")]
    """What it was kept as."""
    context: bool = True
    """Bring the memory alone back, behind the picture with which the video ends."""

    def run(self) -> None:
        """Load the session and its model, and save the session with another memory."""
        from malt.sessions.storage import save_session, session_folder

        with interruptible(), claimed_session_of(self.video, self) as session:
            session.recall(self.name, with_context=self.context)
            save_session(session_folder(self.video), session.state)
            print(f"malt: {self.video} remembers {self.name!r} from frame {session.num_frames} on", file=sys.stderr)
