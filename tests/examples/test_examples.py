"""Every example runs to its end with a tiny model, and leaves what it says it leaves."""

import re
import runpy
import sys
from pathlib import Path

import av
import pytest
import torch
from PIL import Image, ImageSequence

import tiny_pipeline
import tiny_videos

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 60  # lines


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline.pipeline(memory="recurrent").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def acting_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("acting")
    names = ["steering", "throttle"]
    tiny_pipeline.pipeline(settings={"action_names": names}, action_dim=4 * len(names)).save_pretrained(folder)
    return str(folder)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_examples_are_short_and_each_is_run_here() -> None:
    scripts = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    tested = Path(__file__).read_text()
    assert all(f'"{name}"' in tested for name in scripts)
    assert max(scripts.values()) <= LONGEST


def test_a_video_is_streamed_into_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str) -> None:
    run(monkeypatch, "stream.py", "a red circle", "--model", model, "--frames", 20, "--out", tmp_path / "a.mp4")
    assert count_frames(tmp_path / "a.mp4") == 20


def test_a_model_that_acts_is_steered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, acting_model: str) -> None:
    run(monkeypatch, "steer.py", "--model", acting_model, "--frames", 16, "--out", tmp_path / "a.mp4")
    assert count_frames(tmp_path / "a.mp4") == 16


@pytest.mark.parametrize("goal", ["motion", "red"])
def test_a_plan_is_the_best_of_sixteen_futures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, acting_model: str, capsys: pytest.CaptureFixture[str], goal: str
) -> None:
    out = tmp_path / "plan.mp4"
    run(monkeypatch, "plan_by_forking.py", "--model", acting_model, "--goal", goal, "--steps", 2, "--out", out)
    assert count_frames(out) == 2 * tiny_pipeline.SEGMENT
    planned, by_chance = (float(word) for word in re.findall(r"[\d.]+(?= a step| by chance)", capsys.readouterr().out))
    assert planned > by_chance


def test_a_video_gets_other_futures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "branch.py", "--model", model, "--frames", 32, "--out", tmp_path)
    assert Image.open(tmp_path / "futures.png").width > 0
    assert (tmp_path / "session" / "session.json").is_file()
    assert "three futures from frame 16; the first is back at frame 16" in capsys.readouterr().out


@pytest.mark.slow
def test_models_are_compared_by_what_they_remember(
    monkeypatch: pytest.MonkeyPatch, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "compare_memories.py", model, "--count", 1)
    row = capsys.readouterr().out.splitlines()[1]
    assert "recurrent" in row
    assert row.count("%") == 3


def test_malt_is_used_as_a_pipeline_of_diffusers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.gif"
    run(monkeypatch, "diffusers_pipeline.py", "a red circle", "--model", model, "--frames", 8, "--out", out)
    with Image.open(out) as movie:
        assert len(list(ImageSequence.Iterator(movie))) > 1
    assert f"8 frames in {tiny_pipeline.STEPS} denoising steps of UniPC" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_is_trained_on_a_folder_of_videos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for n in range(4):
        tiny_videos.write_video(tmp_path / "videos" / f"{n}.mp4", 64, rate=16, size=(64, 64), start=9 * n)
        (tmp_path / "videos" / f"{n}.txt").write_text("a grey wall\n")
    out = tmp_path / "run"
    run(monkeypatch, "train_on_a_folder.py", tmp_path / "videos", "--recipe", "tiny", "--steps", 4, "--out", out)
    assert (out / "pipeline" / "model_index.json").is_file()
    assert (out / "first.gif").is_file()
