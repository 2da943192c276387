"""Laws of finding a pretrained base: a folder, or an identifier of the hub, of which what is needed is fetched and no pickle."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

import tiny_pretrained
from malt.errors import CheckpointError, UsageError
from malt.hub import fetching
from malt.pipelines.base_folder import base_folder, read_settings


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tiny_pretrained.ltx(tmp_path / "base")
    assert base_folder(str(folder), ["vae"]) == folder


def test_of_an_identifier_only_what_is_asked_for_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    (tmp_path / "model_index.json").write_text("{}")

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(fetching, "snapshot_download", fetch)
    assert base_folder("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", ["vae", "transformer/config.json"]) == tmp_path
    [patterns] = asked.values()
    assert {"model_index.json", "vae/*.safetensors", "transformer/config.json"} <= set(patterns)
    assert not [pattern for pattern in patterns if pattern.endswith((".bin", ".pt", "*")) or "transformer/*" in pattern]


def test_what_cannot_be_fetched_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, allow_patterns: list[str]) -> str:
        raise LocalEntryNotFoundError("Cannot find the requested files on the Hub. Please check your connection")

    monkeypatch.setattr(fetching, "snapshot_download", fetch)
    with pytest.raises(
        CheckpointError, match="there is no folder somebody/base, and the hub could not be reached .*; fetch it where"
    ):
        base_folder("somebody/base", ["vae"])


@pytest.mark.parametrize("name", ["no-such-folder", "/no/such/folder", "a/b/c"])
def test_what_is_neither_a_folder_nor_an_identifier_is_refused(name: str) -> None:
    with pytest.raises(
        UsageError, match="there is no base .*; give a folder of diffusers, or an identifier of the hub"
    ):
        base_folder(name, ["vae"])


def test_folders_that_hold_no_base_or_a_damaged_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="holds no base; give a folder of diffusers with its model_index.json"):
        base_folder(str(tmp_path), ["vae"])
    monkeypatch.setattr(fetching, "snapshot_download", lambda name, allow_patterns: str(tmp_path))
    with pytest.raises(CheckpointError, match="somebody/base is no pipeline of diffusers"):
        base_folder("somebody/base", ["vae"])
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(CheckpointError, match="model_index.json is missing or damaged; copy the base again"):
        read_settings(tmp_path / "model_index.json")
