"""Laws of the plan of an adapter: from a base's settings alone, and as large as what is trained."""

from pathlib import Path

import pytest
import torch

from malt.adapters import add_memory
from malt.cli import main
from malt.errors import CheckpointError
from malt.training.adapted_base import base_without_weights, load_base_transformer
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


def test_a_base_without_the_settings_of_its_text_encoder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    (base / "text_encoder" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json is missing or damaged; copy the settings of the base again"):
        adapted_without_weights(base, adapt_tiny().adapter, torch.float32)
