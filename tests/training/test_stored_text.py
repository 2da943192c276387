"""Laws of adapting with captions that `malt encode --base` stored: no text encoder is loaded, and none of another base."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_pretrained
from malt.cli import main
from malt.pipelines.caption_encoding import CaptionEncoder
from malt.training.base_text import BaseText, base_text
from tiny_videos import write_video

ON_CPU = (torch.float32, "cpu")
SIZES = ("--height", "16", "--width", "24", "--device", "cpu", "--precision", "float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pretrained.wan(tmp_path_factory.mktemp("bases") / "wan")


@pytest.fixture(scope="module")
def shards(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, caption in (("a", "a red circle"), ("b", "a blue square"), ("c", "")):
        write_video(folder / f"videos/{name}.mp4", 80)
        (folder / f"videos/{name}.txt").write_text(caption)
    videos, out = str(folder / "videos"), str(folder / "shards")
    assert main(["encode", videos, "--base", str(base), "--out", out, *SIZES]) == 0
    return folder / "shards"


def loaded(*given: Any) -> None:
    raise AssertionError("a text encoder was loaded")


def adapt(base: Path, shards: Path, out: Path) -> int:
    options = ["--base", str(base), "--data", str(shards), "--out", str(out), "--device", "cpu"]
    return main(["adapt", "adapt-tiny", *options])


def test_what_is_stored_is_looked_up_as_the_encoders_would_give_it(
    base: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseText, "__init__", loaded)
    told, encoded = (text(["a red circle", ""]) for text in (base_text(base, shards, *ON_CPU), CaptionEncoder(base)))
    assert torch.equal(told.states, encoded.states)
    assert torch.equal(told.mask, encoded.mask)


def test_without_stored_captions_the_text_encoder_is_asked(base: Path, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        assert isinstance(base_text(base, folder, *ON_CPU), BaseText)


@pytest.mark.slow
def test_a_run_from_shards_with_captions_loads_no_text_encoder(
    base: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BaseText, "__init__", loaded)
    assert adapt(base, shards, tmp_path / "run") == 0
    assert list((tmp_path / "run" / "adapter").glob("*.safetensors"))


def test_captions_of_another_base_are_refused(
    base: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    config = other / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"d_ff": 8', '"d_ff": 16'))
    assert adapt(other, shards, tmp_path / "run") == 2
    assert "encode the videos with this base (malt encode --base)" in capsys.readouterr().err
