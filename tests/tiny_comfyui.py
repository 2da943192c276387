"""Stands for ComfyUI where it is not installed: as much of its node API as the pack in `integrations/comfyui` uses.

The real one is asked by `tests/integrations/test_comfyui_server.py`, where one runs.
"""

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

PACK = Path(__file__).parents[1] / "integrations" / "comfyui"
WORKFLOWS = PACK / "example_workflows"
Flow = dict[str, dict[str, Any]]


class Slot:
    """An input or output of a node."""

    def __init__(self, name: str | None = None, **options: Any) -> None:
        self.name, self.kind, self.options = name, "", options


def slots(kind: str) -> Any:
    """What `io.Custom(kind)` gives: a kind of socket, with its inputs and outputs."""

    def made(*given: Any, **options: Any) -> Slot:
        slot = Slot(*given, **options)
        slot.kind = kind
        return slot

    return SimpleNamespace(Input=made, Output=made, io_type=kind)


class NodeOutput:
    """What a node gives."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


class Stopped(Exception):  # noqa: N818
    """What ComfyUI raises behind its stop button."""


@dataclass
class ComfyUI:
    """The pack as ComfyUI loaded it, and what ComfyUI was told while nodes ran."""

    folder: Path
    nodes: dict[str, Any] = field(default_factory=dict)
    progress: list[tuple[float, float, Any]] = field(default_factory=list)
    stop_after: int | None = None
    asked: int = 0
    freed: int = 0

    def set_progress(self, value: float, max_value: float, preview_image: Any) -> None:
        """Keep what the progress bar was told."""
        self.progress.append((value, max_value, preview_image))

    def stop_if_told(self) -> None:
        """Raise where the stop button was pressed; keep how often that was asked."""
        self.asked += 1
        if self.stop_after == len(self.progress):
            raise Stopped

    def free(self, size: int, device: torch.device) -> None:
        """Keep how much room was asked for."""
        self.freed += size

    def run(self, kind: str, /, **inputs: Any) -> tuple[Any, ...]:
        """What a node gives; widgets that are not named stand at their defaults.

        Raises:
            ValueError: the node refused its inputs before it ran.
        """
        node = self.nodes[kind]
        inputs = self.defaults(kind) | inputs
        if hasattr(node, "validate_inputs"):
            asked = inspect.signature(node.validate_inputs).parameters
            if (answer := node.validate_inputs(**{key: inputs[key] for key in asked})) is not True:
                raise ValueError(answer)
        with torch.inference_mode():
            given: tuple[Any, ...] = node.execute(**inputs).args
        assert len(given) == len(node.define_schema().outputs)
        return given

    def defaults(self, name: str) -> dict[str, Any]:
        """The values at which a node's widgets stand at first."""
        options = {slot.name: slot.options for slot in self.nodes[name].define_schema().inputs}
        first = {key: each["options"][0] for key, each in options.items() if "options" in each}
        return first | {key: each["default"] for key, each in options.items() if "default" in each}

    def run_flow(self, flow: Flow) -> dict[str, tuple[Any, ...]]:
        """What every node of a workflow gives; those of ComfyUI itself hand on what first came to them."""
        given: dict[str, tuple[Any, ...]] = {}

        def reach(number: str) -> tuple[Any, ...]:
            if number not in given:
                inputs = {
                    key: reach(value[0])[value[1]] if isinstance(value, list) else value
                    for key, value in flow[number]["inputs"].items()
                }
                name = flow[number]["class_type"]
                given[number] = self.run(name, **inputs) if name in self.nodes else (next(iter(inputs.values())),)
            return given[number]

        for number in flow:
            reach(number)
        return given


def load(folder: Path, patch: pytest.MonkeyPatch) -> ComfyUI:
    """Load the pack as ComfyUI does, with ComfyUI's folders in `folder`."""
    host = prepare(folder, patch)
    for name in [name for name in sys.modules if name.split(".")[0] == "comfyui"]:
        patch.delitem(sys.modules, name)
    nodes = asyncio.run(_entered(importlib.import_module("comfyui").comfy_entrypoint))
    host.nodes = {node.define_schema().node_id: node for node in nodes}
    return host


def prepare(folder: Path, patch: pytest.MonkeyPatch) -> ComfyUI:
    """Put the stand-in where the pack looks for ComfyUI."""
    host = ComfyUI(folder)
    names = ("INT", "FLOAT", "STRING", "COMBO", "IMAGE", "MODEL", "LATENT", "CONDITIONING")
    kinds = {name.title(): slots(name) for name in names}
    io = SimpleNamespace(
        Custom=slots, Schema=SimpleNamespace, ComfyNode=type("ComfyNode", (), {}), NodeOutput=NodeOutput, **kinds
    )
    api = SimpleNamespace(execution=SimpleNamespace(set_progress=host.set_progress))
    extension = type("ComfyExtension", (), {})
    _module(patch, "comfy_api.latest", io=io, ComfyExtension=extension, ComfyAPISync=lambda: api)
    _module(
        patch,
        "comfy.model_management",
        get_torch_device=lambda: torch.device("cpu"),
        free_memory=host.free,
        throw_exception_if_processing_interrupted=host.stop_if_told,
    )
    paths: dict[str, list[str]] = {"diffusers": [str(folder / "models" / "diffusers")]}
    _module(
        patch,
        "folder_paths",
        models_dir=str(folder / "models"),
        add_model_folder_path=lambda name, path: paths.setdefault(name, []).append(path),
        get_folder_paths=lambda name: paths[name],
        get_output_directory=lambda: str(folder / "output"),
    )
    return host


async def _entered(entrypoint: Callable[[], Any]) -> list[Any]:
    extension = await entrypoint()
    nodes: list[Any] = await extension.get_node_list()
    return nodes


def _module(patch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """A module, and the package that it is in."""
    package, _, last = name.rpartition(".")
    module = ModuleType(name)
    vars(module).update(content)
    patch.setitem(sys.modules, name, module)
    if package:
        parent = ModuleType(package)
        setattr(parent, last, module)
        patch.setitem(sys.modules, package, parent)


def workflows() -> dict[str, Flow]:
    """The example workflows in the form that ComfyUI's HTTP API takes."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((WORKFLOWS / "api").glob("*.json"))}


def as_flow(drawn: dict[str, Any], nodes: dict[str, Any]) -> Flow:
    """A workflow as the browser draws and saves it, in the form that the HTTP API takes."""
    ends = {number: [str(source), slot] for number, source, slot, *_ in drawn["links"]}
    flow: Flow = {}
    for node in drawn["nodes"]:
        values, inputs = list(node["widgets_values"]), {}
        for slot in node["inputs"]:
            if "widget" in slot:
                inputs[slot["name"]] = values.pop(0)
                if values and values[0] in ("fixed", "randomize"):  # what becomes of a seed behind each run
                    values.pop(0)
            if slot["link"] is not None:
                inputs[slot["name"]] = ends[slot["link"]]
        assert not values, f"{node['type']} has values that no widget takes: {values}"
        flow[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return flow
