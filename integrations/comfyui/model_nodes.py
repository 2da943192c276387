"""Nodes that bring up a model, a memory for it, and both together."""

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from .sockets import MaltModel

CATEGORY = "malt/model"


class LoadMalt(io.ComfyNode):
    """Brings up a model: one that comes with malt, or a folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="LoadMalt",
            display_name="Load Malt",
            category=CATEGORY,
            description="A video model: one that comes with malt, one of the folders models/malt, or any other folder.",
            inputs=[
                io.Combo.Input("model", options=list(_models()), tooltip="Those of malt, then those in models/malt."),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A folder with model_index.json, in the place of the model above. Empty: the model above.",
                ),
            ],
            outputs=[MaltModel.Output(display_name="model")],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None) -> bool | str:
        """A folder that holds no model is refused before anything runs; one that comes by a link is read later."""
        from malt.errors import CheckpointError
        from malt.pipelines.checkpoint_check import check_checkpoint

        try:
            if folder and folder.strip():
                check_checkpoint(Path(folder.strip()))
        except CheckpointError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str | None, folder: str | None) -> Any:
        """A folder that was written anew is loaded anew."""
        path = _folder(model, folder)
        index = path and path / "model_index.json"
        return index.stat().st_mtime_ns if index and index.is_file() else None

    @classmethod
    def execute(cls, model: str, folder: str) -> io.NodeOutput:
        """Load it onto ComfyUI's device."""
        from malt.errors import UsageError
        from malt.pipelines.loading import load_pipeline

        from .comfyui_host import place

        path = _folder(model, folder)
        if path is None:
            raise UsageError(
                f"there is no model {model!r} here; choose one of {', '.join(_models())}, or give a folder"
            )
        pipe = load_pipeline(path)
        pipe.set_progress_bar_config(disable=True)
        return io.NodeOutput(pipe.to(place(pipe.components.values())))


def _folder(model: str | None, folder: str | None) -> Path | None:
    return Path(folder.strip()) if folder and folder.strip() else _models().get(model or "")


def _models() -> dict[str, Path]:
    from malt.pipelines.packaged import packaged_models

    from .comfyui_host import PIPELINES, folders_with

    return packaged_models() | folders_with("model_index.json", PIPELINES)
