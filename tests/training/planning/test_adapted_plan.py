"""Laws of the plan of an adapter: from a base's settings alone, and as large as what is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_pretrained
import tiny_pretrained_behind
from malt.adapters import add_memory
from malt.cli import main
from malt.errors import UsageError
from malt.pipelines.caption_encoding import TEXT, base_parts
from malt.training.adapted_base import load_base_transformer
from malt.training.base_settings import base_without_weights, fitted
from malt.training.config import AdapterConfig
from malt.training.planning.adapted_plan import adapted_without_weights
from malt.training.recipes import adapt_tiny
from tiny_base_folder import save_base


def test_an_adapter_is_planned_from_the_settings_of_its_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save_base(tmp_path / "base")
    adapter = adapt_tiny().adapter
    loaded = load_base_transformer(base, torch.float32)
    frozen = sum(p.numel() for p in loaded.parameters())
    trained = sum(p.numel() for p in add_memory(loaded, adapter.settings).parameters()) - frozen
    for file in base.rglob("*.safetensors"):
        file.unlink()
    assert main(["adapt", "adapt-tiny", "--plan", "--base", str(base), "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert f"transformer: {trained:,} parameters are trained, {frozen:,} frozen" in printed
    assert "autoencoder" not in printed
    assert not (tmp_path / "run").exists()


def test_a_base_without_weights_has_the_precisions_of_one_that_is_loaded(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    shapes = [
        {name: (p.shape, p.dtype) for name, p in make(base, torch.bfloat16).named_parameters()}
        for make in (base_without_weights, load_base_transformer)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("planned", [True, False])
def test_segments_that_end_within_what_an_autoencoder_decodes_are_refused_before_anything_is_encoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], planned: bool
) -> None:
    base, sizes = tiny_pretrained.cogvideox(tmp_path / "base"), ("--frame-size", "64", "64", "--device", "cpu")
    segments = ("--adapter.segment-frames", "3", *["--plan"][: int(planned)])
    assert main(["adapt", "adapt-tiny", "--base", str(base), "--out", str(tmp_path / "run"), *sizes, *segments]) == 2
    assert (
        "the segments have 3 latent frames, and this base's autoencoder decodes 2 at a time" in capsys.readouterr().err
    )


def test_an_adapter_becomes_what_its_base_can_read(tmp_path: Path) -> None:
    wan, mochi = save_base(tmp_path / "wan"), tiny_pretrained_behind.mochi(tmp_path / "mochi")
    for base, read, context in ((wan, "beside", 1), (mochi, "behind", 0)):
        made = fitted(AdapterConfig(), base)
        assert (made.read, made.context_frames) == (read, context)
    asked = AdapterConfig(read="behind", context_frames=0)
    assert fitted(asked, wan) == asked


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"read": "beside"}, "cannot read a memory beside its own keys; give --adapter.read behind"),
        ({"context_frames": 1}, "this base has one noise level for all frames; give --adapter.context-frames 0"),
    ],
)
def test_an_adapter_that_its_base_cannot_have_is_refused(tmp_path: Path, asked: dict[str, Any], sentence: str) -> None:
    base = tiny_pretrained_behind.mochi(tmp_path / "mochi")
    with pytest.raises(UsageError, match=sentence):
        fitted(AdapterConfig(**asked), base)


def test_the_planned_conditions_of_a_base_are_those_that_its_pipeline_makes(tmp_path: Path) -> None:
    base = tiny_pretrained.hunyuan(tmp_path / "base")
    planned = adapted_without_weights(base, AdapterConfig(memory_size=2), torch.float32).text(["", ""])
    parts = base_parts(base, TEXT)
    caption = parts.guided(parts.encode(["", ""], None)[0], 1.0)
    assert {name: tensor.shape for name, tensor in planned.added.items()} == {
        name: tensor.shape for name, tensor in caption.added.items()
    }
    assert planned.states.shape[2] == caption.states.shape[2]
