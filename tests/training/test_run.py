"""Laws of a whole training run, by the command line: from nothing to a model that makes a video."""

import json
import math
import shutil
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from malt.cli import main
from malt.codecs.malt import MaltCodec
from malt.errors import CheckpointError, UsageError
from malt.memory.registry import KINDS
from malt.models.autoencoder import AutoencoderMalt
from malt.pipelines.loading import load_pipeline
from malt.training import run
from malt.training.engine.gradients import TrainingObjective
from malt.training.engine.parallel import DistributedContext, ParallelConfig, by_the_first
from malt.training.model_spec import load_start
from malt.training.objectives.autoencoding import ReconstructionObjective
from malt.training.objectives.denoising import CaptionedTransformer, DenoisingObjective
from malt.training.pipeline_export import build_captioned
from malt.training.recipes import RECIPES, tiny
from malt.training.run_folder import check_unchanged, claimed
from malt.training.sources import worlds
from malt.worlds.passage.captions import vocabulary
from malt.worlds.passage.passage_world import Passage
from tiny_stop import stop_at

Weights = dict[str, torch.Tensor]


def train(folder: Path, *options: str) -> int:
    return main(["train", "tiny", "--out", str(folder), "--device", "cpu", *options])


def weights(folder: Path) -> Weights:
    """All weights of a finished run."""
    files = {
        name: next((folder / "pipeline" / name).glob("*.safetensors"))
        for name in ("transformer", "vae", "text_encoder")
    }
    return {f"{name}.{key}": tensor for name, file in files.items() for key, tensor in load_file(file).items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert train(folder) == 0
    return folder


def test_a_recipe_becomes_a_model_that_makes_a_video(finished: Path, tmp_path: Path) -> None:
    out, checkpoint = tmp_path / "walk.mp4", str(finished / "pipeline")
    options = ["--checkpoint", checkpoint, "--frames", "20", "--steps", "1", "--device", "cpu", "--out", str(out)]
    assert main(["generate", "a red circle passes behind a wall", *options]) == 0
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_a_run_keeps_what_made_it(finished: Path) -> None:
    experiment = json.loads((finished / "experiment.json").read_text())
    assert (experiment["seed"], experiment["world_videos"]) == (0, 4)
    for part in ("autoencoder", "transformer"):
        assert (finished / part / "journal.jsonl").exists()
        assert [path.name for path in (finished / part).glob("step-*")] == ["step-00000004"]
    milestones = sorted(path.name for path in (finished / "transformer" / "milestones").iterdir())
    assert milestones == ["step-00000002", "step-00000004"]
    assert not list(finished.rglob("*partial*"))


def test_a_run_measures_itself_on_scenes_that_it_does_not_learn_from(finished: Path) -> None:
    (line,) = [json.loads(line) for line in (finished / "validation.jsonl").read_text().splitlines()]
    assert line["step"] == 4
    assert {"loss", "level_0.1", "level_0.9", "segment_0", "segment_2"} <= line.keys()
    assert all(math.isfinite(value) and value > 0 for value in line.values())
    figures = json.loads((finished / "autoencoder" / "reconstruction.json").read_text())
    assert figures["psnr"] > 5 and 0 < figures["ssim"] < 1


def test_a_run_shows_what_it_makes(finished: Path) -> None:
    assert sorted(path.name for path in (finished / "samples").iterdir()) == ["step-00000004.mp4", "step-00000004.png"]
    with av.open(str(finished / "samples" / "step-00000004.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == tiny().monitors.sample_frames


def test_looking_at_a_run_changes_nothing_of_it(finished: Path, tmp_path: Path) -> None:
    never = ["--monitors.validate-every", "0", "--monitors.sample-every", "0"]
    assert train(tmp_path / "run", *never) == 0
    assert not (tmp_path / "run" / "samples").exists() and not (tmp_path / "run" / "validation.jsonl").exists()
    expected, found = weights(finished), weights(tmp_path / "run")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_two_runs_in_one_folder_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: Path
) -> None:
    with claimed(finished):
        assert train(finished, "--resume") == 2
    assert "another process is training in" in capsys.readouterr().err


def test_a_run_goes_on_without_being_told_again_what_it_is(finished: Path) -> None:
    assert main(["train", "--out", str(finished), "--resume", "--device", "cpu"]) == 0


def test_a_run_is_not_gone_on_with_by_another_recipe(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "drive", "--out", str(finished), "--resume"]) == 2
    assert "was begun with the recipe tiny, not drive" in capsys.readouterr().err


def test_the_model_is_the_average_with_the_statistics_of_its_latents(finished: Path) -> None:
    pipe = load_pipeline(finished / "pipeline")
    average = load_file(finished / "transformer" / "step-00000004" / "average.safetensors")
    found = dict(pipe.transformer.named_parameters())
    for name, value in average.items():
        if name.startswith("transformer."):
            assert torch.equal(found[name.removeprefix("transformer.")], value.half().float()), name
    assert len(pipe.vae.config.latent_mean) == len(pipe.vae.config.latent_std) == 16
    assert len(set(pipe.vae.config.latent_std)) > 1


@pytest.mark.parametrize(("task", "step"), [(ReconstructionObjective, 1), (DenoisingObjective, 2)])
def test_a_run_that_is_told_to_stop_goes_on_as_if_it_never_was(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: type[TrainingObjective], step: int
) -> None:
    stop_at(task, step, monkeypatch)
    with pytest.raises(SystemExit) as left:
        train(tmp_path / "stopped")
    assert left.value.code == 143
    assert not (tmp_path / "stopped" / "pipeline").exists()
    assert train(tmp_path / "stopped", "--resume") == 0
    expected, found = weights(finished), weights(tmp_path / "stopped")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_finished_run_that_is_resumed_is_only_written_out_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(finished)
    monkeypatch.setattr(Passage, "render", lambda *given: pytest.fail("something was rendered"))
    monkeypatch.setattr(worlds, "encode_world", lambda *given: pytest.fail("something was encoded"))
    for task in (ReconstructionObjective, DenoisingObjective):
        monkeypatch.setattr(task, "loss", lambda self, step: pytest.fail("something was learned"))
    assert train(finished, "--resume") == 0
    assert all(torch.equal(value, before[name]) for name, value in weights(finished).items())


def test_a_run_that_diverges_ends_in_a_sentence_and_makes_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(out, "--autoencoder-optimization.learning-rate", "1e38") == 1
    said = capsys.readouterr().err
    assert "training has diverged" in said
    assert "begin again with lower learning rates" in said
    assert "Traceback" not in said
    assert not (out / "pipeline").exists()
    assert not (out / "autoencoder" / "final").exists()


def test_a_run_begun_when_bfloat16_was_the_default_goes_on(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "bfloat16"}))
    assert train(tmp_path / "run", "--resume") == 0
    assert json.loads(path.read_text())["precision"] == "bfloat16"
    assert train(tmp_path / "run", "--resume", "--precision", "auto") == 0
    assert json.loads(path.read_text())["precision"] == "auto"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--threads", "0"], "asked for 0 as --threads; give at least 1"),
        (["--seed", "-1"], "asked for seed -1"),
        (["--resume"], "holds no run to resume; leave --resume out to begin one"),
        (["--device", "abacus"], "cannot compute on the device 'abacus'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_nothing_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main(["train", "tiny", "--out", str(tmp_path / "run"), *options]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_there_is_said_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "enormous", "--out", str(tmp_path / "run")]) == 2
    said = f"there is no recipe 'enormous'; choose one of {', '.join(RECIPES)}, or give FILE.py:NAME"
    assert said in capsys.readouterr().err
    assert main(["train", "drve", "--out", str(tmp_path / "run")]) == 2
    assert "did you mean 'drive'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "holds something already; give --resume to go on, or name another folder"),
        (["--resume", "--seed", "1"], "was begun with another --seed; leave it out to go on, or name another folder"),
        (["--resume", "--transformer.num-layers", "3"], "was begun with another --transformer.num-layers"),
    ],
)
def test_a_folder_with_a_run_in_it_is_not_touched_by_another(
    finished: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert train(finished, *options) == 2
    assert complaint in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_run_may_go_on_computed_otherwise_but_not_learned_otherwise() -> None:
    otherwise = replace(tiny(), compile=True, parallel=ParallelConfig(num_replicas=8, activation_checkpointing=True))
    check_unchanged(Path("run"), tiny(), otherwise)
    with pytest.raises(UsageError, match="begun with another --parallel.fsdp"):
        check_unchanged(Path("run"), tiny(), replace(tiny(), parallel=ParallelConfig(fsdp=True)))


def test_a_step_cannot_be_one_cuda_graph_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["train", "tiny", "--device", "cpu", "--cuda-graphs", "true", "--out", str(tmp_path / "run")]
    assert main(given) == 2
    assert "one CUDA graph on one GPU alone; give --cuda-graphs false" in capsys.readouterr().err


def test_batches_that_the_processes_cannot_share_are_refused_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "launched", lambda on_gpu: nullcontext(DistributedContext(0, 4)))
    with pytest.raises(UsageError, match="a batch of 2 videos cannot be shared equally by 4; give a multiple of 4"):
        run.train(tiny(), tmp_path / "run")
    assert not (tmp_path / "run" / "experiment.json").exists()


@pytest.mark.parametrize(("rank", "order"), [(0, ["work", "wait"]), (1, ["wait", "work"])])
def test_what_the_first_process_writes_is_waited_for_by_the_others(
    monkeypatch: pytest.MonkeyPatch, rank: int, order: list[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(dist, "new_group", lambda **settings: settings["timeout"] >= timedelta(days=1))
    monkeypatch.setattr(dist, "barrier", lambda group: done.append("wait") if group else None)
    by_the_first(DistributedContext(rank, 2), lambda: done.append("work"))
    assert done == order


def test_a_run_is_not_written_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("precious")
    assert train(tmp_path / "run") == 2
    assert "is a file; name a folder for the run" in capsys.readouterr().err
    assert (tmp_path / "run").read_text() == "precious"


def test_a_run_can_start_from_a_finished_model_and_keeps_its_autoencoder(tmp_path: Path) -> None:
    assert train(tmp_path / "first") == 0
    assert train(tmp_path / "second", "--start", str(tmp_path / "first" / "pipeline"), "--seed", "1") == 0
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(value, second[name]) for name, value in first.items() if name.startswith("vae."))
    given = ("--start", str(tmp_path / "first" / "pipeline"), "--codec", str(_another_autoencoder(tmp_path)))
    assert train(tmp_path / "third", *given) == 0
    third = weights(tmp_path / "third")
    assert not any(torch.equal(value, third[name]) for name, value in first.items() if name.startswith("vae.decoder"))
    assert not all(torch.equal(value, second[name]) for name, value in first.items())
    config = (tmp_path / "second" / "pipeline" / "vae" / "config.json").read_text()
    assert str(tmp_path) not in config  # it says nothing of the machine that it was made on


def _another_autoencoder(folder: Path) -> Path:
    autoencoder = load_pipeline(folder / "first" / "pipeline").vae
    assert isinstance(autoencoder, AutoencoderMalt)
    for weight in autoencoder.parameters():
        weight.data += 0.1
    autoencoder.save_pretrained(folder / "vae")
    return folder / "vae"


def test_a_start_that_is_no_model_or_of_another_shape_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "none", "--start", str(tmp_path)) == 2
    assert "holds no model to start from" in capsys.readouterr().err
    assert train(tmp_path / "first") == 0
    larger = replace(tiny().transformer, num_layers=3)
    with pytest.raises(CheckpointError, match="another shape"):
        run.train(replace(tiny(), transformer=larger, start=str(tmp_path / "first" / "pipeline")), tmp_path / "second")


def test_any_kind_of_memory_can_start_from_a_model_without_one_and_not_from_that_of_another_kind(
    tmp_path: Path,
) -> None:
    def captioned(memory: str) -> CaptionedTransformer:
        size = replace(tiny().transformer, memory=memory, motion=(0.1, 0.2) if memory == "places" else None)
        return build_captioned(size, vocabulary(), MaltCodec(AutoencoderMalt(channels=(4, 8, 8))))

    for memory in ("none", "slots"):
        captioned(memory).transformer.save_pretrained(tmp_path / memory / "transformer")
    for memory in KINDS:
        load_start(captioned(memory), tmp_path / "none", text_encoder=False)
    with pytest.raises(CheckpointError, match="its transformer is of another shape, or of another memory"):
        load_start(captioned("recurrent"), tmp_path / "slots", text_encoder=False)


def test_going_further_needs_a_model_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "finetune", "--out", str(tmp_path / "run")]) == 2
    assert "name it with --start" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
