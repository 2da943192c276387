"""Malt in ComfyUI: long videos with a memory, as a graph whose session sockets are fork and rewind."""

from importlib.util import find_spec

from comfy_api.latest import ComfyExtension, io

from .model_nodes import ApplyMaltMemory, LoadMalt, LoadMaltMemory
from .native_nodes import ApplyMaltMemoryToModel, RememberMaltSegment
from .prompt_node import MaltPromptOverTime
from .session_nodes import BeginMaltSession, BranchMaltSession, RewindMaltSession, SetMaltPrompt, StreamMaltSegments
from .storage_nodes import LoadMaltSession, SaveMaltSession

NODES = [
    LoadMalt,
    LoadMaltMemory,
    ApplyMaltMemory,
    ApplyMaltMemoryToModel,
    RememberMaltSegment,
    MaltPromptOverTime,
    BeginMaltSession,
    StreamMaltSegments,
    SetMaltPrompt,
    BranchMaltSession,
    RewindMaltSession,
    SaveMaltSession,
    LoadMaltSession,
]


class MaltExtension(ComfyExtension):
    """The nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """What ComfyUI puts into its menu."""
        return NODES


async def comfy_entrypoint() -> MaltExtension:
    """Called by ComfyUI as it starts.

    Raises:
        ModuleNotFoundError: malt is not installed where ComfyUI runs; ComfyUI logs the sentence and goes on without the pack.
    """
    if find_spec("malt") is None:
        raise ModuleNotFoundError(
            "malt is not installed in ComfyUI's Python; run `python -m pip install malt-diffusion` with that Python and restart"
        )
    return MaltExtension()
