"""Laws of `malt train` on one's own videos, and of `malt export`, by the command line."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from malt.cli import main
from malt.data.codec_fingerprint import identify
from malt.data.shard_dataset import ShardDataset
from malt.media.video_writer import VideoSink
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.pipelines.loading import load_pipeline
from malt.training.engine.checkpoint import saved_states

ACTING = ["--actions", "steering", "throttle"]
SMALL = ["--frame-size", "32", "48", "--frame-rate", "20", "--monitors.sample-frames", "20"]
SHORT = ["--curriculum.1.objectives.0.num-segments", "2"]


def video(path: Path, num_frames: int, seed: int, acting: bool = True) -> None:
    """A square that wanders over noise, with what was done."""
    chance = np.random.default_rng(seed)
    frames = chance.integers(0, 60, (num_frames, 48, 64, 3), dtype=np.uint8)
    for index in range(num_frames):
        left = (index + 7 * seed) % 50
        frames[index, 10:30, left : left + 14] = 40 * seed + 60
    with VideoSink(path, frame_rate=20) as sink:
        sink.write(frames)
    if acting:
        rows = "".join(f"{index / num_frames:.3f},{0.1 * seed:.3f}\n" for index in range(num_frames))
        path.with_name(f"{path.stem}.actions.csv").write_text("steering,throttle\n" + rows)


def videos(folder: Path, count: int = 3, acting: bool = True) -> Path:
    folder.mkdir()
    for seed in range(count):
        video(folder / f"film-{seed}.mp4", 60, seed, acting)
    return folder


def train(data: Path, out: Path, *options: str) -> int:
    return main(["train", "tiny", "--data", str(data), "--out", str(out), "--device", "cpu", *SMALL, *SHORT, *options])


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on videos with actions."""
    folder = tmp_path_factory.mktemp("driven")
    assert train(videos(folder / "films"), folder / "run", *ACTING) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on captioned videos without actions."""
    folder = tmp_path_factory.mktemp("captioned")
    data = videos(folder / "films", acting=False)
    (data / "captions.csv").write_text(
        "file,caption\nfilm-0.mp4,A grey square.\nfilm-1.mp4,a bright square\nfilm-2.mp4,unseen words\n"
    )
    assert train(data, folder / "run") == 0
    return folder / "run"


def test_a_model_that_learned_from_videos_knows_their_size_their_rate_and_what_is_done_in_them(driven: Path) -> None:
    pipe = load_pipeline(driven / "pipeline")
    assert (pipe.frame_size, pipe.frame_rate, pipe.action_names) == ((32, 48), 20.0, ["steering", "throttle"])
    assert pipe.transformer.config.action_dim == 8
    assert pipe.config.num_inference_steps == 1


def test_a_run_on_videos_measures_and_shows_what_it_learned(driven: Path) -> None:
    assert json.loads((driven / "autoencoder" / "reconstruction.json").read_text()).keys() >= {"psnr", "ssim"}
    (line,) = [json.loads(line) for line in (driven / "validation.jsonl").read_text().splitlines()]
    assert {"segment_0", "segment_1"} <= line.keys()
    with av.open(str(driven / "samples" / "step-00000004.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
    assert not (driven / "frames").exists()


def test_the_shards_of_a_run_are_what_its_own_autoencoder_makes(driven: Path) -> None:
    autoencoder = load_autoencoder(driven / "autoencoder" / "final")
    corpus = ShardDataset.open(driven / "shards", identify(autoencoder))
    assert [len(video) for video in corpus.videos] == [15, 15, 15]
    assert corpus.action_names == ("steering", "throttle")


def test_shards_and_their_autoencoder_are_enough_to_train_on(driven: Path, tmp_path: Path) -> None:
    codec = ["--codec", str(driven / "autoencoder" / "final")]
    assert train(driven / "shards", tmp_path / "run", *ACTING, *codec) == 0
    pipe = load_pipeline(tmp_path / "run" / "pipeline")
    assert (pipe.frame_size, pipe.frame_rate, pipe.action_names) == ((32, 48), 20.0, ["steering", "throttle"])
    assert not (tmp_path / "run" / "autoencoder" / "step-00000004").exists()


def test_shards_of_another_autoencoder_are_refused(
    driven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(driven / "shards", tmp_path / "run", *ACTING) == 2
    said = capsys.readouterr().err
    assert "were encoded by AutoencoderMalt" in said and "--codec" in said
    assert said.count("\n") == 1


def test_a_vocabulary_is_made_of_the_captions_that_are_learned_from(captioned: Path) -> None:
    assert json.loads((captioned / "words.json").read_text()) == ["a", "bright", "grey", "square"]
    assert load_pipeline(captioned / "pipeline").known_words == ["a", "bright", "grey", "square"]
    assert load_pipeline(captioned / "pipeline").action_names == []


def test_a_run_is_exported_as_it_stands(captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(captioned), "--out", str(tmp_path / "model")]) == 0
    assert "after 4 steps" in capsys.readouterr().out
    for name in ("transformer", "vae", "text_encoder"):
        (found,) = (tmp_path / "model" / name).glob("*.safetensors")
        expected = load_file(captioned / "pipeline" / name / found.name)
        assert all(torch.equal(value, expected[key]) for key, value in load_file(found).items()), name
    assert main(["export", str(captioned), "--out", str(tmp_path / "model")]) == 2
    assert "holds something already" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "model")]) == 2
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "experiment.json").write_text("{}")
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "model")]) == 1
    assert "has no whole state of its transformer yet" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_it_is_said_how_many_captions_there_are_and_what_is_left_out_of_them(
    driven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = videos(tmp_path / "films", acting=False)
    (data / "film-0.txt").write_text("a grey square, " * 10)
    (data / "film-1.txt").write_text("another one")
    codec = ["--codec", str(driven / "autoencoder" / "final")]
    few = ["--max-words", "3", "--monitors.sample-every", "0", "--monitors.validate-every", "0"]
    assert train(data, tmp_path / "run", *codec, *few) == 0
    said = capsys.readouterr().out
    assert "videos with captions: 2 of 3" in said
    assert "captions of more than 19 words are cut there (1 of them); --caption-tokens 31 learns them whole" in said
    assert "the captions have 5 different words, of which the 3 most frequent are learned" in said


def test_captions_that_change_after_encoding_are_noticed(
    captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(captioned, tmp_path / "run"))
    again = main(["train", "--out", str(run), "--device", "cpu", "--resume"])
    assert (again, "other captions" in capsys.readouterr().out) == (0, False)
    table = captioned.parent / "films" / "captions.csv"
    before = table.read_text()
    table.write_text(before.replace("bright", "dark"))
    try:
        assert main(["train", "--out", str(run), "--device", "cpu", "--resume"]) == 0
    finally:
        table.write_text(before)
    assert (
        "the captions of 1 video have changed since they were encoded (such as of film-1.mp4)"
        in capsys.readouterr().out
    )


def test_an_unreadable_video_is_not_the_one_that_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = videos(tmp_path / "films", acting=False)
    (data / "film-9.mp4").write_bytes(b"only words")  # the last of so few would be held out
    assert train(data, tmp_path / "run", "--monitors.sample-every", "0") == 0
    assert "no video is held out" not in capsys.readouterr().out
    assert (tmp_path / "run" / "validation.jsonl").exists()
    assert (tmp_path / "run" / "autoencoder" / "reconstruction.json").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["videos"], "the recipe videos learns from your own videos; name their folder with --data"),
        (["drive", "--data", "nowhere"], "there is no folder"),
        (["tiny", "--frame-size", "32", "48"], "the world passage has frames of 64x64"),
        (["tiny", "--actions", "steering"], "nobody acts in the world passage"),
        (["tiny", "--world-frames", "48"], "world_frames is 48; give a multiple of 4 that is at least 52"),
        (["tiny", "--optimizer.learning-rate", "1"], "did you mean --optimization.learning-rate"),
        (["tiny", "--ressume"], "did you mean --resume"),
        (["tiny", "--optimization.num-steps", "many"], "cannot be 'many'; give a whole number"),
    ],
)
def test_wrong_usage_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main(["train", *options, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run" / "experiment.json").exists()


def test_actions_that_the_videos_have_not_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = videos(tmp_path / "films", count=2, acting=False)
    assert train(data, tmp_path / "run", *ACTING) == 2
    assert "have the actions none and steering, throttle are asked for" in capsys.readouterr().err


def test_videos_shorter_than_a_segment_are_refused_before_an_autoencoder_is_trained_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "films").mkdir()
    for seed in range(2):
        video(tmp_path / "films" / f"film-{seed}.mp4", 16, seed, acting=False)
    assert train(tmp_path / "films", tmp_path / "run") == 2
    assert "the longest video has 4 latent frames and 5 are needed to learn from" in capsys.readouterr().err
    assert not (tmp_path / "run" / "autoencoder").exists()


def test_videos_of_which_none_can_be_used_are_refused(
    driven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "films").mkdir()
    for name in ("a", "b"):
        (tmp_path / "films" / f"{name}.mp4").write_bytes(b"only words")
    codec = ["--codec", str(driven / "autoencoder" / "final")]
    for number, options in enumerate(([], codec)):
        assert train(tmp_path / "films", tmp_path / f"run-{number}", *options) == 2
        assert "none of 2 videos can be" in capsys.readouterr().err


def test_a_vocabulary_that_is_damaged_is_named(
    captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(captioned, tmp_path / "run"))
    (run / "words.json").write_text("{")
    assert main(["export", str(run), "--out", str(tmp_path / "model")]) == 2
    assert "words.json is damaged; copy it again" in capsys.readouterr().err


def test_frames_that_do_not_fit_a_given_autoencoder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = {"encoder_block_out_channels": (4, 4), "decoder_block_out_channels": (4, 4)}
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    AutoencoderTiny(latent_channels=4, **widths, **blocks).save_pretrained(tmp_path / "codec")
    data = videos(tmp_path / "films", count=2, acting=False)
    assert train(data, tmp_path / "run", "--codec", str(tmp_path / "codec"), "--frame-size", "32", "50") == 2
    assert "frames of 50x32 do not fit this autoencoder and transformer; give --frame-size with multiples of 4" in (
        capsys.readouterr().err
    )


def test_as_many_states_are_kept_as_a_run_is_told_to_keep(driven: Path, tmp_path: Path) -> None:
    codec = ["--codec", str(driven / "autoencoder" / "final")]
    often = ["--checkpoint.save-seconds", "1e-6", "--checkpoint.keep-states", "3", "--monitors.sample-every", "0"]
    assert train(driven / "shards", tmp_path / "run", *ACTING, *codec, *often) == 0
    names = [path.name for path in saved_states(tmp_path / "run" / "transformer")]
    assert names == ["step-00000002", "step-00000003", "step-00000004"]


def test_the_fields_of_a_recipe_are_listed_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "drive", "--list-options", "--transformer.num-layers", "3"]) == 0
    listed = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert listed["--frame-size"] == "64 96"
    assert listed["--actions"] == "steering throttle"
    assert listed["--transformer.num-layers"] == "3"
    assert listed["--compile"] == "true"
    assert listed["--transformer.window-size"] == "none"
