"""What the pack's sockets carry. All of it is values: a node makes a new one and leaves the one it was given as it is."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from comfy_api.latest import io

if TYPE_CHECKING:
    from malt.sessions.pipeline import SessionPipeline
    from malt.sessions.session import Session
    from malt.sessions.session_state import SessionState

MaltModel = io.Custom("MALT_MODEL")
MaltMemory = io.Custom("MALT_MEMORY")
MaltSession = io.Custom("MALT_SESSION")


@dataclass(frozen=True)
class SessionValue:
    """Where a video stands, and the model that makes it. Wire it into two nodes, and the video has two futures."""

    pipe: "SessionPipeline"
    state: "SessionState"

    @classmethod
    def of(cls, session: "Session") -> "SessionValue":
        """Where a session stands now, with nothing of it left on a GPU: ComfyUI keeps what its nodes gave."""
        *past, now = session.state.snapshots
        return cls(session.pipe, replace(session.state, snapshots=(*past, now.to("cpu"))))

    def go_on(self) -> "Session":
        """A session that goes on from here."""
        from malt.sessions.session import Session

        return Session(self.pipe, self.state)
