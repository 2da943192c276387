"""Laws of the recipes for published data sets, on made videos in their folders."""

from pathlib import Path

import av
import numpy as np
import pytest

from malt.cli import main
from malt.data.shard_dataset import ShardDataset
from malt.data.video_folder import VideoFile, captioned_by_folder
from malt.pipelines.loading import load_pipeline
from malt.training.benchmark_recipes import kinetics600, ucf101
from malt.training.sources.fit_curriculum import unrolled_frames

TINY = {
    "frame-size": "32 32",
    "autoencoder.channels": "8 16 16",
    "autoencoder.encoder-blocks": "1 1",
    "autoencoder.decoder-blocks": "1 1",
    "autoencoder-objective.batch-size": "2",
    "autoencoder-optimization.num-steps": "2",
    "transformer.num-layers": "1",
    "transformer.num-attention-heads": "2",
    "transformer.attention-head-dim": "16",
    "optimization.num-steps": "4",
    "curriculum.0.until": "2",
    "curriculum.1.until": "4",
    "curriculum.0.objectives.0.batch-size": "2",
    "curriculum.1.objectives.0.batch-size": "2",
    "curriculum.1.objectives.1.batch-size": "2",
    "monitors.validate-every": "0",
    "monitors.sample-every": "0",
    "precision": "float32",
    "compile": "false",
}


def film(path: Path, num_frames: int) -> None:
    """A film as UCF-101 has them: 320x240, 25 frames a second, MPEG-4 in AVI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(num_frames):
            pixels = np.full((240, 320, 3), (index * 3) % 255, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())


def test_a_class_is_the_caption_of_its_videos() -> None:
    for folder, words in [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("playing_chess", "playing chess"),
        ("yo yo", "yo yo"),
    ]:
        path = Path("/data") / folder / "v_g01_c01.avi"
        assert captioned_by_folder(VideoFile(path, path.name)).caption == words
    given = VideoFile(Path("/data/YoYo/1.avi"), "YoYo/1.avi", caption="a boy")
    assert captioned_by_folder(given) == given


def test_the_unrolls_are_films_of_128_frames_and_their_steps_are_for_eight_gpus() -> None:
    for experiment in (ucf101(), kinetics600()):
        size = experiment.transformer
        assert unrolled_frames(experiment.curriculum, size.segment_frames, 0) == 128 // 4
        assert experiment.frame_size == (128, 128)
        assert size.memory_size is not None
        assert size.memory_size >= 128 // 16 - 1
        batches = [objective.batch_size for stage in experiment.curriculum for objective in stage.objectives]
        assert not any(batch % 8 for batch in [*batches, experiment.autoencoder_objective.batch_size])


@pytest.mark.slow
def test_a_dry_run_learns_from_folders_of_classes(tmp_path: Path) -> None:
    for folder in ("ApplyEyeMakeup", "YoYo"):
        film(tmp_path / "data" / folder / f"v_{folder}_g01_c01.avi", 140)
    options = [word for name, words in TINY.items() for word in (f"--{name}", *words.split())]
    command = ["train", "ucf101", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, *options]) == 0
    assert sorted(ShardDataset.open(tmp_path / "run" / "shards").captions) == ["apply eye makeup", "yo yo"]
    assert load_pipeline(tmp_path / "run" / "pipeline").frame_rate == 25.0


def test_the_recipe_is_refused_without_videos(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "ucf101", "--out", str(tmp_path / "run")]) == 2
    assert "learns from your own videos; name their folder with --data" in capsys.readouterr().err
