import json
from pathlib import Path

import numpy as np
import pytest

from malt.cli import main
from malt.data.world_recording import record_world
from malt.errors import UsageError
from malt.media.actions_csv import read_actions
from malt.media.pixels import to_pixels
from malt.media.video_reader import read_video
from malt.worlds.passage.passage_world import Passage
from tiny_world import SIDE, Lamp

FRAMES = 20


def test_a_recording_holds_the_frames_actions_poses_and_caption_of_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malt.data.world_recording.STRETCH", 8)
    (video,) = record_world(Lamp(), [5], FRAMES, tmp_path)
    clip = Lamp().render([5], 0, FRAMES)
    pixels = np.concatenate([part.pixels for part in read_video(video, (SIDE, SIDE))])
    assert pixels.shape == (FRAMES, SIDE, SIDE, 3)
    assert np.abs(pixels.astype(int) - to_pixels(clip.frames[0])).mean() < 8  # the file is compressed
    assert clip.actions is not None and clip.poses is not None
    for kind, truth in (("actions", clip.actions), ("poses", clip.poses)):
        names, values = read_actions(video.with_suffix(f".{kind}.csv"))
        assert names == (Lamp.action_names if kind == "actions" else Lamp.pose_names)
        assert np.allclose(values, truth[0].numpy(), atol=1e-6)
    assert video.with_suffix(".txt").read_text() == "a blue lamp\n"


def test_a_recording_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    first = list(record_world(Lamp(), [1], FRAMES, tmp_path))
    kept = first[0].read_bytes()
    first[0].write_bytes(kept + b"untouched")
    assert [path.name for path in record_world(Lamp(), [1, 2], FRAMES, tmp_path)] == ["lamp-000002.mp4"]
    assert first[0].read_bytes() == kept + b"untouched"


def test_other_videos_are_not_recorded_beside_those_that_are_there(tmp_path: Path) -> None:
    list(record_world(Lamp(), [1], FRAMES, tmp_path))
    with pytest.raises(UsageError, match="recorded otherwise .* name another folder"):
        list(record_world(Lamp(), [1], FRAMES + 1, tmp_path))


def test_a_world_is_recorded_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "videos"
    words = ["world", "passage", "--record", str(out), "--count", "2", "--frames", "8", "--seed", "7"]
    assert main(words) == 0
    assert "recorded 2 videos of 8 frames" in capsys.readouterr().out
    assert sorted(path.name for path in out.glob("*.mp4")) == ["passage-000007.mp4", "passage-000008.mp4"]
    assert (out / "passage-000007.txt").read_text().strip() == Passage().captions([7], [7])[0]
    assert not list(out.glob("*.csv"))  # nobody acts in it
    assert json.loads((out / "recording.json").read_text())["world"] == "passage"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--policy", "explore"], "nobody acts in the world passage, so it has no policy 'explore'"),
        (["--record", "a-file"], "a-file is a file; name a folder for the videos"),
        (["--record", "videos", "--count", "0"], "--count"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("")
    assert main(["world", "passage", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("videos").exists()
