"""Laws of videos that are made by compiled blocks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_pipeline
from malt.cli import main
from malt.media.video_reader import read_video
from tiny_pipeline import SEGMENT

SCRIPT = Path(__file__).with_name("compiled_videos.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of the videos of compiled_videos.py."""
    ran = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path_factory.mktemp("videos"), capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def test_everything_is_compiled_before_the_clock_runs(made: Any) -> None:
    assert made["in all"] == made["before the clock"] > 0


def test_compiled_blocks_make_the_same_video(made: Any) -> None:
    assert made["difference"] < 0.1


def test_a_video_of_compiled_blocks_goes_on_by_compiled_blocks(made: Any) -> None:
    assert made["resumed"] > 0


def test_where_nothing_can_be_compiled_that_is_said_and_the_video_is_made(made: Any) -> None:
    assert "malt: cannot compile here (" in made["without a compiler"] and made["difference without"] == 0
    assert "there is no g++" in made["without a compiler"]


def test_a_batch_compiles_once(made: Any) -> None:
    assert made["batch"].count("malt: compiling") == 1 and "made 2 of 2 videos" in made["batch"]


def test_blocks_that_come_and_go_are_not_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a red circle", "--offload", "group", "--base", "some/base", "--compile"]) == 2
    assert "leave out --offload, or --compile" in capsys.readouterr().err


@pytest.mark.slow
def test_the_code_of_compiled_blocks_makes_the_same_video(tmp_path: Path) -> None:
    tiny_pipeline.pipeline().save_pretrained(tmp_path / "model")
    command = [sys.executable, "-m", "malt", "generate", "a red circle", "--checkpoint", str(tmp_path / "model")]
    frames = []
    for name, options in (("compiled.mp4", ["--compile"]), ("eager.mp4", [])):
        given = ["--frames", str(7 * SEGMENT), "--out", str(tmp_path / name), "--device", "cpu"]
        ran = subprocess.run([*command, *given, *options], capture_output=True, text=True, check=True)
        assert "cannot compile" not in ran.stderr
        frames.append(np.concatenate([part.pixels for part in read_video(tmp_path / name)]).astype(int))
    assert np.abs(frames[0] - frames[1]).mean() < 0.1
