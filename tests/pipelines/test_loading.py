"""Laws of loading a checkpoint: what is not whole and safe is refused in a sentence."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tiny_pipeline
from malt.errors import CheckpointError
from malt.pipelines.checkpoint_check import COMPONENTS, MODELS, check_checkpoint
from malt.pipelines.loading import load_pipeline, missing_tensors
from malt.pipelines.packaged import default_checkpoint, packaged_models

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    index: dict[str, Any] = {"_class_name": "MaltPipeline"}
    for name in COMPONENTS:
        (path / name).mkdir(parents=True)
        index[name] = ["somewhere", "Something"]
    for name in MODELS:
        (path / name / "config.json").write_text("{}")
        save_file({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, path / name / WEIGHTS)
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def stand_in_for_the_pipeline(monkeypatch: pytest.MonkeyPatch, from_pretrained: Callable[..., Any]) -> None:
    module = ModuleType("malt.pipelines.malt")
    module.MaltPipeline = SimpleNamespace(from_pretrained=from_pretrained)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "malt.pipelines.malt", module)


def our_model(*, num_outputs: int = 2, bias: bool = True) -> nn.Module:
    kind = type("OurLinear", (nn.Linear,), {"__module__": "malt.models.linear"})
    model: nn.Module = kind(3, num_outputs, bias=bias)
    return model


def test_a_whole_checkpoint_is_loaded_without_a_network_and_without_pickles(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    pipeline = SimpleNamespace(**{name: our_model() for name in MODELS})

    def from_pretrained(path: Path, **options: Any) -> SimpleNamespace:
        asked.update(options, path=path)
        return pipeline

    stand_in_for_the_pipeline(monkeypatch, from_pretrained)
    assert load_pipeline(checkpoint) is pipeline
    safely = {"local_files_only": True, "use_safetensors": True}
    assert asked == {"path": checkpoint, "dtype": torch.float32, "variant": None, **safely}


@pytest.mark.parametrize(
    ("name", "folder"),
    [(None, "default"), ("default", "default"), ("drive", "drive"), ("teacher", "teacher"), ("maze", "maze")],
)
def test_the_packaged_models_are_loaded_by_their_names(
    name: str | None, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Path] = []

    def from_pretrained(path: Path, **options: Any) -> SimpleNamespace:
        paths.append(path)
        return SimpleNamespace(**{part: nn.Linear(1, 1) for part in MODELS})

    stand_in_for_the_pipeline(monkeypatch, from_pretrained)
    load_pipeline(name)
    assert [path.resolve() for path in paths] == [packaged_models()[folder].resolve()]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint folder"):
        check_checkpoint(tmp_path / "nowhere")


def test_a_folder_that_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        check_checkpoint(tmp_path)


def test_the_checkpoint_of_another_pipeline_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model_index.json").write_text('{"_class_name": "OtherPipeline"}')
    with pytest.raises(CheckpointError, match="holds OtherPipeline"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_damaged_index_is_said(checkpoint: Path, content: str) -> None:
    (checkpoint / "model_index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"model_index\.json is damaged"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_missing_component_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).rename(checkpoint / "elsewhere")
    with pytest.raises(CheckpointError, match=f"lacks its {name}"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused(checkpoint: Path, name: str, pickle: str) -> None:
    (checkpoint / name / WEIGHTS).rename(checkpoint / name / pickle)
    with pytest.raises(CheckpointError, match="pickled weights .* refused"):
        check_checkpoint(checkpoint)


def test_missing_weights_are_said(checkpoint: Path) -> None:
    (checkpoint / "vae" / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_weights_cut_short_are_said(checkpoint: Path, name: str, length: int) -> None:
    weights = checkpoint / name / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        check_checkpoint(checkpoint)


def test_a_missing_shard_is_named(checkpoint: Path) -> None:
    index = checkpoint / "transformer" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}}))
    with pytest.raises(CheckpointError, match="is damaged: it says of no shard"):
        check_checkpoint(checkpoint)
    index.write_text(json.dumps({"weight_map": {"more": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match="model-00002-of-00002.safetensors is missing"):
        check_checkpoint(checkpoint)


def test_weights_that_do_not_fit_are_said_in_a_sentence(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(path: Path, **options: Any) -> None:
        raise ValueError("weight expected shape [2, 4], but got [2, 3]. If you want to, do this.\nAnd that.")

    stand_in_for_the_pipeline(monkeypatch, from_pretrained)
    with pytest.raises(CheckpointError, match=r"cannot be loaded \(weight expected shape \[2, 4\], but got \[2, 3\]\)"):
        load_pipeline(checkpoint)


def test_weights_that_were_not_stored_are_refused_not_left_random(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"weight": torch.zeros(2, 3)}, checkpoint / "vae" / WEIGHTS)
    pipeline = SimpleNamespace(**{name: our_model() for name in MODELS})
    stand_in_for_the_pipeline(monkeypatch, lambda path, **options: pipeline)
    with pytest.raises(CheckpointError, match="lacks 1 weight, such as bias"):
        load_pipeline(checkpoint)


def test_weights_of_another_kind_of_memory_are_refused_not_left_out(tmp_path: Path) -> None:
    tiny_pipeline.pipeline(memory="slots", memory_size=3).save_pretrained(tmp_path)
    config = tmp_path / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "memory": "recurrent", "memory_size": None}))
    with pytest.raises(
        CheckpointError, match=r"holds 14 weights .* has not, such as blocks\.0\.memory\.initial; use the"
    ):
        load_pipeline(tmp_path)


def test_a_tensor_tied_to_a_stored_one_is_not_missing() -> None:
    model = nn.ModuleDict({"shared": nn.Linear(2, 2, bias=False), "tied": nn.Linear(2, 2, bias=False)})
    model["tied"].weight = model["shared"].weight
    assert missing_tensors(model, {"shared.weight"}) == []
    assert missing_tensors(model, set()) == ["shared.weight", "tied.weight"]


def test_an_installation_without_a_default_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malt.pipelines.packaged.files", lambda package: tmp_path)
    with pytest.raises(CheckpointError, match="no default model"):
        default_checkpoint()


@pytest.mark.slow
def test_a_program_that_imports_nothing_else_loads_the_default_model() -> None:
    program = "from malt.pipelines.loading import load_pipeline; load_pipeline()"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_folder_is_checked_before_torch_is_imported() -> None:
    program = "import sys, malt.pipelines.checkpoint_check; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
