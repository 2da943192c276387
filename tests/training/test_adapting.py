"""Laws of adapting: the base stays as it is, and the run keeps, resumes and writes nothing but what was learned."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from malt.cli import main
from malt.media.files import file_sha256
from malt.training.adapted_base import load_base_transformer
from malt.training.base_text import BaseText
from malt.training.objectives.denoising import DenoisingObjective
from tiny_base_folder import CHANNELS, save_base
from tiny_stop import stop_at


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("bases") / "wan")


def adapt(base: Path, out: Path, *options: str) -> int:
    return main(["adapt", "adapt-tiny", "--base", str(base), "--out", str(out), "--device", "cpu", *options])


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert adapt(base, folder) == 0
    return folder


def hashes(base: Path) -> dict[str, str]:
    return {str(path): file_sha256(path) for path in sorted(base.rglob("*")) if path.is_file()}


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a finished adapter, by file and name."""
    files = sorted((folder / "adapter").glob("*.safetensors"))
    return {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}


def names_in(folder: Path) -> set[str]:
    found = set[str]()
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            found |= set(stored.keys())
    return found


def test_a_run_changes_no_byte_of_its_base(base: Path, tmp_path: Path) -> None:
    before = hashes(base)
    assert adapt(base, tmp_path / "run") == 0
    assert hashes(base) == before


def test_a_saved_state_holds_no_weight_of_the_base(base: Path, finished: Path) -> None:
    weights = {f"transformer.base.{name}" for name in load_base_transformer(base, torch.float32).state_dict()}
    (state,) = (finished / "transformer").glob("step-*")
    kept = {name.replace(".base_layer", "") for name in names_in(state)}
    assert kept and not {name for name in kept if name in weights}
    assert all("lora_" in name or ".adapter." in name for name in names_in(state))


def test_the_adapter_that_is_written_is_small_and_has_learned(base: Path, finished: Path) -> None:
    own = sum(tensor.numel() for tensor in learned(finished).values())
    assert 0 < own < 0.4 * sum(w.numel() for w in load_base_transformer(base, torch.float32).parameters())
    assert any("lora_B" in name and bool(tensor.any()) for name, tensor in learned(finished).items())
    assert not (finished / "autoencoder").exists()


def test_a_run_that_was_stopped_ends_as_if_it_never_had_been(
    base: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(DenoisingObjective, 2, monkeypatch)
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        adapt(base, run)
    assert main(["adapt", "--resume", "--out", str(run), "--device", "cpu"]) == 0
    whole = learned(finished)
    assert learned(run).keys() == whole.keys()
    assert [name for name, tensor in learned(run).items() if not torch.equal(tensor, whole[name])] == []


def test_checkpointing_the_layers_changes_nothing_that_is_learned(base: Path, finished: Path, tmp_path: Path) -> None:
    assert adapt(base, tmp_path / "run", "--parallel.activation-checkpointing", "true") == 0
    whole = learned(finished)
    for name, tensor in learned(tmp_path / "run").items():
        torch.testing.assert_close(tensor, whole[name], msg=name)


def test_a_run_journals_validates_and_shows_samples(finished: Path) -> None:
    (line,) = [json.loads(line) for line in (finished / "transformer" / "journal.jsonl").read_text().splitlines()]
    assert line["step"] == 4
    assert (finished / "validation.jsonl").exists()
    assert (finished / "samples" / "step-00000004.mp4").exists()


def test_the_newest_state_can_be_written_as_an_adapter(finished: Path, tmp_path: Path) -> None:
    assert main(["export", str(finished), "--out", str(tmp_path / "adapter")]) == 0
    kept = {file.name: load_file(file) for file in (tmp_path / "adapter").glob("*.safetensors")}
    whole = learned(finished)
    for file, tensors in kept.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, whole[f"{file} {name}"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "name the folder of a pretrained video model with --base"),
        (["--base", "nowhere"], "there is no base nowhere; give a folder"),
        (["--base", "nowhere", "--plan"], "there is no base nowhere; give a folder"),
        (["--base", "{here}", "--plan"], "holds no base; give a folder of diffusers"),
        (["--base", "{here}"], "holds no base; give a folder of diffusers"),
        (["--base", "{base}", "--codec", "{base}"], "a base brings its own autoencoder"),
        (["--base", "{base}", "--adapter.memory", "elephant"], "elephant"),
        (["--base", "{base}", "--frame-size", "40", "32", "--plan"], "frames of 32x40 do not fit this autoencoder"),
        (["--base", "{base}", "--adapter.lora-targets", "hat"], "lora_targets is 'hat'"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_a_sentence(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    given = [option.format(here=tmp_path, base=base) for option in options]
    assert main(["adapt", "adapt-tiny", "--out", str(tmp_path / "run"), *given]) in (1, 2)
    assert not (tmp_path / "run" / "experiment.json").exists()
    assert sentence in capsys.readouterr().err


def test_a_base_of_no_known_family_is_refused_and_the_known_ones_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiTPipeline"}')
    assert adapt(tmp_path, tmp_path / "run") == 2
    assert "WanPipeline" in capsys.readouterr().err


def test_a_pickled_base_is_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "base"
    shutil.copytree(base, copy)
    (weights,) = (copy / "transformer").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    assert adapt(copy, tmp_path / "run") == 1
    assert "pickled" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_a_base_that_lacks_weights_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    copy = tmp_path / "base"
    shutil.copytree(base, copy)
    config = copy / part / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"num_layers": settings["num_layers"] + 1}))
    assert adapt(copy, tmp_path / "run") == 1
    assert f"{part} lacks " in capsys.readouterr().err


def test_text_is_zero_behind_a_caption_and_as_long_as_its_pipeline_makes_it(base: Path) -> None:
    text = BaseText(base, torch.float32, "cpu")
    told = text(["a red circle passes behind a wall", ""])
    assert told.states.shape[:2] == (2, 512)
    assert told.mask.sum(dim=1).tolist() == [8, 1]
    assert not told.states[~told.mask].any()
    again = text([""])
    torch.testing.assert_close(again.states[0], told.states[1])
    assert CHANNELS == 4


@pytest.mark.slow
def test_two_processes_that_share_a_base_learn_what_one_does(base: Path, tmp_path: Path) -> None:
    sharded = ["--parallel.fsdp", "true", "--parallel.activation-checkpointing", "true"]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command = [sys.executable, *torchrun, "--rdzv-endpoint", "127.0.0.1:0", "-m", "malt", "adapt", "adapt-tiny"]
    options = ["--base", str(base), "--out", str(tmp_path / "two"), "--device", "cpu", *sharded]
    network = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    subprocess.run([*command, *options], env=os.environ | network, check=True, capture_output=True, timeout=600)
    assert adapt(base, tmp_path / "one", *sharded) == 0
    together, alone = learned(tmp_path / "two"), learned(tmp_path / "one")
    assert together.keys() == alone.keys()
    for name, tensor in together.items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-3, atol=1e-4, msg=name)
    (state,) = (tmp_path / "two" / "transformer").glob("step-*")
    assert all("lora_" in name or ".adapter." in name for name in names_in(state))


def test_an_adapter_says_whether_it_is_to_remember_in_its_last_step(base: Path, finished: Path, tmp_path: Path) -> None:
    assert adapt(base, tmp_path / "run", "--sampling.remembers-in-last-step", "true") == 0
    for folder, in_last_step in ((finished, False), (tmp_path / "run", True)):
        said = json.loads((folder / "adapter" / "adapter.json").read_text())
        assert said["settings"]["remembers_in_last_step"] is in_last_step


def test_a_model_of_ours_is_told_that_only_adapters_remember_in_their_last_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--sampling.remembers-in-last-step", "true"]
    assert main(["train", "tiny", "--out", str(tmp_path / "run"), "--device", "cpu", *wanted]) == 2
    assert "only an adapter of a base remembers in its last step; leave it out" in capsys.readouterr().err
