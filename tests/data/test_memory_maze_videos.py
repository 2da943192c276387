import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tiny_pipeline
from malt.media.actions_csv import read_actions
from malt.media.video_reader import read_video

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEFT, FORWARD_RIGHT = 2, 5


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("memory_maze_prediction")


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    """A folder with a trajectory of 9 grey frames, as published: nothing was done before the first."""
    path = tmp_path / "trajectories" / "000007.npz"
    path.parent.mkdir()
    pictures = np.broadcast_to(np.arange(0, 180, 20, dtype=np.uint8)[:, None, None, None], (9, 64, 64, 3))
    action = np.zeros((9, 6), bool)
    action[1, LEFT] = action[2, FORWARD_RIGHT] = True
    np.savez(path, image=pictures, action=action)
    return path.parent


def test_a_trajectory_becomes_a_video_with_what_a_rolling_ball_does_of_its_commands(
    benchmark: ModuleType, trajectory: Path, tmp_path: Path
) -> None:
    benchmark.write_videos(trajectory, tmp_path / "videos")
    names, values = read_actions(tmp_path / "videos" / "000007.actions.csv")
    assert names == ("turn", "walk")
    assert np.allclose(values.sum(axis=0), [0, 1], atol=1e-6)  # in the end all of it: left, right, and forward once
    assert values[0].tolist() == [0, 0]  # before the first command
    assert values[1, 0] > 0.5 > 0 > values[2, 0] and abs(values[4:, 0]).max() == 0
    assert values[2, 1] > values[3, 1] > values[4, 1] > 0
    frames = np.concatenate([part.pixels for part in read_video(tmp_path / "videos" / "000007.mp4", (64, 64))])
    assert np.abs(frames.mean(axis=(1, 2, 3)) - np.arange(0, 180, 20)).max() < 3


def test_a_video_that_is_there_is_kept(benchmark: ModuleType, trajectory: Path, tmp_path: Path) -> None:
    (tmp_path / "000007.mp4").write_bytes(b"whole")
    benchmark.write_videos(trajectory, tmp_path)
    assert (tmp_path / "000007.mp4").read_bytes() == b"whole"


def test_a_folder_without_trajectories_is_refused_in_a_sentence(benchmark: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no \.npz files; record some"):
        benchmark.write_videos(tmp_path, tmp_path / "videos")


@pytest.mark.slow
def test_a_model_is_measured_beside_its_autoencoder_and_a_picture_that_stands_still(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = tiny_pipeline.autoencoder(frame_size=(64, 64))
    tiny_pipeline.pipeline(vae, {"action_names": ["turn", "walk"]}, action_dim=8).save_pretrained(tmp_path / "model")
    draw = np.random.default_rng(0)
    for number in range(2):
        pictures, action = (
            draw.integers(0, 255, (40, 64, 64, 3), np.uint8),
            np.eye(6, dtype=bool)[draw.integers(0, 6, 40)],
        )
        np.savez(tmp_path / f"{number}.npz", image=pictures, action=action)
    words = ["measure", str(tmp_path), "--checkpoint", str(tmp_path / "model"), "--given", "20", "--horizon", "16"]
    monkeypatch.setattr("sys.argv", ["memory_maze_prediction.py", *words, "--out", str(tmp_path / "figures.json")])
    benchmark.main()
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert figures["setting"] == {"given": 20, "horizon": 16} and figures["budget"]["trajectories measured"] == 2
    ways = {"last true frame kept", "autoencoder alone", "as it is", "memory emptied", "another's"}
    assert set(figures["measured"]) == ways
    assert all(len(measures["PSNR"]["videos"]) == 2 for measures in figures["measured"].values())
