"""Nodes that keep a session on disk, and take it up again."""

from typing import Any

from comfy_api.latest import io

from .session_nodes import SESSION
from .sockets import MaltModel, MaltSession, SessionValue

CATEGORY = "malt/storage"
NAME = io.String.Input("name", default="walk", tooltip="Folder output/malt/NAME.session of ComfyUI.")


class SaveMaltSession(io.ComfyNode):
    """Writes a session, whole or not at all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="SaveMaltSession",
            display_name="Save Session (Malt)",
            category=CATEGORY,
            description="Keeps a session in output/malt, to be gone on with tomorrow; one of the same name is replaced.",
            inputs=[MaltSession.Input("session", tooltip=SESSION), NAME],
            outputs=[MaltSession.Output(display_name="session", tooltip=SESSION)],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, session: SessionValue, name: str) -> io.NodeOutput:
        """Write it, and say where and how long the video is.

        Raises:
            MaltError: it cannot be written, as on a full disk; what was there is kept.
        """
        from .comfyui_host import session_path

        folder, going = session_path(name), session.go_on()
        folder.parent.mkdir(parents=True, exist_ok=True)
        going.save(folder)
        return io.NodeOutput(session, ui={"text": (f"{going.num_frames} frames, {folder}",)})


class LoadMaltSession(io.ComfyNode):
    """Takes up a session that was saved, with the model that made it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="LoadMaltSession",
            display_name="Load Session (Malt)",
            category=CATEGORY,
            description="A session that Save Session kept in output/malt.",
            inputs=[MaltModel.Input("model", tooltip="The model that made it."), NAME],
            outputs=[MaltSession.Output(display_name="session", tooltip=SESSION)],
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        """A name that leads elsewhere is refused before anything runs; one that comes by a link is read later."""
        from malt.errors import UsageError

        from .comfyui_host import session_path

        try:
            if name is not None:
                session_path(name)
        except UsageError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str | None, **others: Any) -> Any:
        """A session that was saved anew is read anew."""
        from .comfyui_host import session_path

        index = None if name is None else session_path(name) / "session.json"
        return index.stat().st_mtime_ns if index and index.is_file() else None

    @classmethod
    def execute(cls, model: Any, name: str) -> io.NodeOutput:
        """Read it.

        Raises:
            UsageError: there is none.
            MaltError: it is damaged, or was made by another model.
        """
        from malt.sessions.session import Session

        from .comfyui_host import session_path

        return io.NodeOutput(SessionValue.of(Session.load(session_path(name), model)))
