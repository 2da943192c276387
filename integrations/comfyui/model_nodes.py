"""Nodes that bring up a model, a memory for it, and both together."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .sockets import MaltMemory, MaltModel

if TYPE_CHECKING:
    from malt.sessions.pipeline import SessionPipeline

CATEGORY = "malt/model"


class LoadMalt(io.ComfyNode):
    """Brings up a model: one that comes with malt, a folder, or a pretrained base of diffusers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="LoadMalt",
            display_name="Load Malt",
            category=CATEGORY,
            description="A video model: of malt, of models/malt, or a pretrained one of models/diffusers, such as Wan 2.1.",
            inputs=[
                io.Combo.Input(
                    "model", options=list(_models()), tooltip="Of malt, models/malt, then models/diffusers."
                ),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="In place of the model above: a folder with model_index.json, or a base's name on the hub.",
                ),
            ],
            outputs=[MaltModel.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None) -> bool | str:
        """A folder that holds no model is refused before anything runs; one that comes by a link is read later."""
        from malt.errors import MaltError

        try:
            if folder and folder.strip():
                _check(folder.strip())
        except MaltError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str | None, folder: str | None) -> Any:
        """A folder that was written anew is loaded anew."""
        index = Path(_name(model, folder)) / "model_index.json"
        return index.stat().st_mtime_ns if index.is_file() else None

    @classmethod
    def execute(cls, model: str, folder: str) -> io.NodeOutput:
        """Load it onto ComfyUI's device; a pretrained base in half precision, where that is no processor.

        Raises:
            UsageError: there is no such model, or it is a base of no known family.
            CheckpointError: it is incomplete, damaged or pickled, or cannot be fetched.
        """
        import torch

        from malt.errors import UsageError
        from malt.pipelines.adapted_loading import load_adapted
        from malt.pipelines.loading import load_pipeline

        from .comfyui_host import on_processor, place

        name = _name(model, folder)
        if not name:
            raise UsageError(
                f"there is no model {model!r} here; choose one of {', '.join(_models())}, or give a folder"
            )
        if _is_malt(Path(name)):
            pipe = load_pipeline(name)
            pipe.set_progress_bar_config(disable=True)
            return io.NodeOutput(pipe.to(place(pipe.components.values())))
        adapted = load_adapted(name, dtype=torch.float32 if on_processor() else torch.bfloat16)
        return io.NodeOutput(adapted.to(place(adapted.base.components.values())))


class LoadMaltMemory(io.ComfyNode):
    """Names a memory for a pretrained base, as `malt adapt` leaves it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="LoadMaltMemory",
            display_name="Load Malt Memory",
            category=CATEGORY,
            description="A memory for a pretrained base: one of models/malt_memory, or any other folder.",
            inputs=[
                io.Combo.Input("memory", options=list(_memories()) or [""], tooltip="Those in models/malt_memory."),
                io.String.Input("folder", default="", tooltip="In place of the one above: a folder with adapter.json."),
            ],
            outputs=[MaltMemory.Output(display_name="memory")],
        )

    @classmethod
    def validate_inputs(cls, memory: str | None, folder: str | None) -> bool | str:
        """A folder that holds no memory is refused before anything runs; one that comes by a link is read later."""
        from malt.errors import MaltError

        try:
            if folder is not None and memory is not None:
                _described(memory, folder)
        except MaltError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, memory: str | None, folder: str | None) -> Any:
        """A folder that was written anew is read anew."""
        description = (_memory(memory, folder) or Path()) / "adapter.json"
        return description.stat().st_mtime_ns if description.is_file() else None

    @classmethod
    def execute(cls, memory: str, folder: str) -> io.NodeOutput:
        """Look whether the folder holds one.

        Raises:
            UsageError: none was named.
            CheckpointError: the folder holds none, or a damaged one.
        """
        return io.NodeOutput(_described(memory, folder))


class ApplyMaltMemory(io.ComfyNode):
    """Gives a pretrained base a memory; the model that went in stays without."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="ApplyMaltMemory",
            display_name="Apply Malt Memory",
            category=CATEGORY,
            description="A pretrained base with a memory. Both share the base's weights, so compare them in one graph.",
            inputs=[MaltModel.Input("model", tooltip="A pretrained base, of Load Malt."), MaltMemory.Input("memory")],
            outputs=[MaltModel.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: "SessionPipeline", memory: Path) -> io.NodeOutput:
        """Another model on the same weights.

        Raises:
            UsageError: the model is no pretrained base, or the memory was made for another.
            CheckpointError: the memory's folder is not whole.
        """
        from malt.errors import UsageError
        from malt.pipelines.adapted import AdaptedPipeline
        from malt.pipelines.shared_base import with_memory

        if not isinstance(model, AdaptedPipeline):
            raise UsageError("malt's own models have a memory already; load a pretrained base, or leave this node out")
        return io.NodeOutput(with_memory(model, memory).to(model.device))


def _name(model: str | None, folder: str | None) -> str:
    """A folder, or a name on the hub; empty where the model of this name is not there any more."""
    return folder.strip() if folder and folder.strip() else str(_models().get(model or "", ""))


def _is_malt(folder: Path) -> bool:
    from malt.pipelines.checkpoint_check import read_json

    index = folder / "model_index.json"
    return index.is_file() and read_json(index).get("_class_name") == "MaltPipeline"


def _check(name: str) -> None:
    from malt.hub.base_names import REPOSITORY
    from malt.pipelines.base_check import check_base_folder
    from malt.pipelines.checkpoint_check import check_checkpoint

    folder = Path(name)
    if _is_malt(folder) or not (folder / "model_index.json").is_file():
        if folder.is_dir() or not REPOSITORY.fullmatch(name):
            check_checkpoint(folder)
    else:
        check_base_folder(folder)


def _models() -> dict[str, Path]:
    from malt.pipelines.packaged import packaged_models

    from .comfyui_host import PIPELINES, folders_with

    return packaged_models() | folders_with("model_index.json", PIPELINES, "diffusers")


def _memory(memory: str | None, folder: str | None) -> Path | None:
    return Path(folder.strip()) if folder and folder.strip() else _memories().get(memory or "")


def _described(memory: str, folder: str) -> Path:
    """The folder of a memory, whose description has been read."""
    from malt.errors import UsageError
    from malt.pipelines.adapted_loading import describe

    path = _memory(memory, folder)
    if path is None:
        raise UsageError("there is no memory; put one into models/malt_memory, or give the folder of one")
    describe(path)
    return path


def _memories() -> dict[str, Path]:
    from .comfyui_host import MEMORIES, folders_with

    return folders_with("adapter.json", MEMORIES)
