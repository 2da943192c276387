"""Laws of the precision in which videos are encoded: that of the processor, unless one is named."""

from pathlib import Path

import pytest
import torch

import tiny_pipeline
from malt.cli import main
from malt.codecs.malt import MaltCodec
from malt.data.world_dataset import encode_world
from malt.worlds.registry import open_world
from tiny_videos import write_video


@pytest.fixture
def reduced(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every call of the codec, whether it computes in bfloat16."""
    seen, encode = list[bool](), MaltCodec.encode

    def spy(*given: object) -> object:
        seen.append(torch.is_autocast_enabled("cpu"))
        return encode(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(MaltCodec, "encode", spy)
    return seen


@pytest.mark.parametrize(("feature", "expected"), [("avx2", False), ("amx_bf16", True)])
def test_a_world_is_encoded_in_what_the_processor_is_fast_in(
    monkeypatch: pytest.MonkeyPatch, reduced: list[bool], feature: str, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True}, raising=False)
    encode_world(open_world("passage"), tiny_pipeline.autoencoder(), range(1), 8)
    assert reduced == [expected]


@pytest.mark.parametrize(
    ("feature", "options", "expected"),
    [
        ("avx2", [], False),
        ("amx_bf16", [], True),
        ("avx2", ["--precision", "bfloat16"], True),
        ("amx_bf16", ["--precision", "float32"], False),
    ],
)
def test_videos_are_encoded_in_it_too_or_in_the_one_that_is_named_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    reduced: list[bool],
    feature: str,
    options: list[str],
    expected: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True}, raising=False)
    tiny_pipeline.autoencoder().save_pretrained(tmp_path / "codec")
    video = write_video(tmp_path / "a.mp4", 8)
    given = ["encode", str(video), "--out", str(tmp_path / "shards"), "--codec", str(tmp_path / "codec")]
    given += ["--device", "cpu", *options]
    assert main(given) == 0
    assert reduced
    assert set(reduced) == {expected}
    assert f"encoding videos in {'bfloat16' if expected else 'float32'}" in capsys.readouterr().out
