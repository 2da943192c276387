"""The command line on a base of every family: encode videos, plan, learn a memory from them, and generate with it."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from malt.cli import main
from tiny_families import BASES, PROMPT, Tiny, shorten_clips
from tiny_videos import write_video

pytestmark = pytest.mark.slow
LEARNS = {name: tiny for name, tiny in BASES.items() if not tiny.from_image}


def encode(tiny: Tiny, folder: Path) -> list[str]:
    """What `malt adapt` is told of a base whose latents and captions are stored."""
    base = tiny.save(folder / "base")
    for name in ("a", "b"):
        write_video(folder / "videos" / f"{name}.mp4", 41, size=(tiny.side, tiny.side))
        (folder / "videos" / f"{name}.txt").write_text(PROMPT)
    shards, side = folder / "shards", str(tiny.side)
    sizes = ["--height", side, "--width", side, "--device", "cpu"]
    assert main(["encode", str(folder / "videos"), "--base", str(base), "--out", str(shards), *sizes]) == 0
    return ["adapt-tiny", "--base", str(base), "--data", str(shards), "--adapter.segment-frames", "2"]


@pytest.mark.parametrize("tiny", LEARNS.values(), ids=LEARNS)
def test_a_memory_is_learned_from_encoded_videos_as_planned_and_generates(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten_clips(tiny, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options, run, out = encode(tiny, tmp_path), tmp_path / "run", tmp_path / "made.mp4"
    assert main(["adapt", *options, "--plan"]) == 0
    planned = re.search(r"transformer: ([\d,]+) parameters are trained", capsys.readouterr().out)
    assert main(["adapt", *options, "--out", str(run), "--device", "cpu"]) == 0
    learned = [tensor for file in (run / "adapter").glob("*.safetensors") for tensor in load_file(file).values()]
    assert planned is not None and int(planned[1].replace(",", "")) == sum(tensor.numel() for tensor in learned)
    assert all(torch.isfinite(tensor).all() for tensor in learned)
    assert any(
        "lora_B" in name and tensor.any() for name, tensor in load_file(run / "adapter" / "lora.safetensors").items()
    )
    given = ["--base", str(tmp_path / "base"), "--adapter", str(run / "adapter"), "--steps", "2", "--device", "cpu"]
    assert main(["generate", PROMPT, "--frames", str(tiny.more), "--out", str(out), *given]) == 0
    assert out.is_file()


def test_a_base_that_is_told_an_image_is_refused_before_anything_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, run = encode(BASES["wan-i2v"], tmp_path), tmp_path / "run"
    for more in (["--plan"], ["--out", str(run), "--device", "cpu"]):
        assert main(["adapt", *options, *more]) == 2
        assert "this base is told an image; give the same model for text to video" in capsys.readouterr().err
    assert not (run / "experiment.json").exists()
