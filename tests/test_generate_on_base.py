"""Laws of the command line on a pretrained base: generate, resume, rewind, branch, inspect, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import tiny_base_pipelines as tiny
from malt.adapters import add_memory, save_adapter
from malt.cli import main
from malt.errors import CheckpointError
from malt.media.video_reader import count_frames
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted
from malt.pipelines.bases.wan_parts import WanParts
from malt.pipelines.caption_encoding import base_parts
from tiny_base_pipelines import FRAMES, PROMPT, USE

CPU = ["--device", "cpu"]  # where two processes compute the same bits
SIZE = ["--size", "32x32", "--steps", "1", "--guidance-scale", "1", *CPU]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("bases") / "wan")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "remembers"
    adapted = add_memory(tiny.wan().transformer, {"memory": "slots", "segment_frames": 2})
    save_adapter(adapted, folder, str(base), USE | {"num_inference_steps": 1})
    return folder


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(WanParts, "num_frames", FRAMES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """What a command ends with, and the last line of what it says."""
    code = main([str(argument) for argument in arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    return code, lines[-1] if lines else ""


def test_a_base_makes_a_video_that_is_resumed_branched_and_rewound(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part, other = tmp_path / "whole.mp4", tmp_path / "part.mp4", tmp_path / "other.mp4"
    assert said(capsys, "generate", PROMPT, "--base", base, "--frames", 49, "--out", whole, *SIZE)[0] == 0
    assert said(capsys, "generate", PROMPT, "--base", base, "--frames", 33, "--out", part, *SIZE)[0] == 0
    assert said(capsys, "resume", part, "--frames", 49, *CPU)[0] == 0
    assert part.read_bytes() == whole.read_bytes()
    assert said(capsys, "branch", whole, "--at", 33, "--seed", 5, "--out", other, *CPU)[0] == 0
    assert count_frames(other, 16) == 49
    assert said(capsys, "rewind", whole, "--to", 33, *CPU)[0] == 0
    assert main(["inspect", str(whole)]) == 0
    assert "model      wan (" in capsys.readouterr().out
    code, line = said(capsys, "inspect", whole, "--picture", tmp_path / "picture.png")
    assert code == 2 and line.endswith("do not say where they look; --picture is for malt's own models")


def test_an_adapter_for_a_base_in_a_folder_says_which_and_goes_on_with_it(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "walk.mp4"
    arguments = [PROMPT, "--adapter", adapter, "--frames", 13, "--out", out, "--device", "cpu"]
    code, line = said(capsys, "generate", *arguments)
    assert (code, line) == (
        2,
        "malt: the adapter was made for the base wan, which lies in a folder; say where, with --base",
    )
    assert said(capsys, "generate", *arguments, "--base", base)[0] == 0
    assert said(capsys, "resume", out, "--frames", 21)[0] == 0
    assert count_frames(out, 16) == 21


def test_a_base_that_is_gone_is_named(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved, out = tmp_path / "moved", tmp_path / "walk.mp4"
    shutil.copytree(base, moved)
    assert said(capsys, "generate", PROMPT, "--base", moved, "--frames", 17, "--out", out, *SIZE)[0] == 0
    shutil.rmtree(moved)
    code, line = said(capsys, "resume", out, "--frames", 33)
    assert (code, line) == (
        2,
        f"malt: the model in {moved} made {out} and is gone; say where it is, with --base or --adapter",
    )
    assert said(capsys, "resume", out, "--frames", 33, "--base", base)[0] == 0


def test_a_video_goes_on_in_the_numbers_it_began_in_whatever_the_device_would_choose(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "walk.mp4"
    assert said(capsys, "generate", PROMPT, "--base", base, "--frames", 13, "--out", out, *SIZE)[0] == 0
    chosen = list[torch.dtype]()

    def load(*given: object, dtype: torch.dtype) -> object:
        chosen.append(dtype)
        return load_adapted(*given, dtype=dtype)  # type: ignore[arg-type]

    monkeypatch.setattr("malt.pipelines.adapted_loading.load_adapted", load)
    monkeypatch.setattr(AdaptedPipeline, "bring_to", lambda *_given: None)
    monkeypatch.setattr("malt.commands.model_options.choose_device", lambda _name: "cuda")
    assert said(capsys, "resume", out, "--frames", 21)[0] == 0
    assert count_frames(out, 16) == 21
    assert chosen == [torch.float32]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "32"], "asked for '32' as --size; give width and height, as in 832x480"),
        (["--offload", "model"], "offloading by model needs a GPU to compute on; leave it out"),
        (["--offload", "disk"], "asked for 'disk' as --offload; choose one of none, model, group"),
        (["--precision", "int8"], "asked for 'int8' as --precision; choose one of auto, bfloat16, float16, float32"),
        (["--model", "drive"], "--model and --base were given; give one of them"),
        (["--size", "40x32"], "40x32 does not fit this model; give sides that are multiples of 16"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_sentence(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = [PROMPT, "--base", base, "--out", tmp_path / "walk.mp4", "--device", "cpu", *options]
    assert said(capsys, "generate", *arguments) == (2, f"malt: {message}")
    assert not (tmp_path / "walk.mp4").exists()


def test_a_name_on_the_hub_without_a_network_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    out = tmp_path / "walk.mp4"
    code, line = said(capsys, "generate", PROMPT, "--base", "nobody/no-such-base", "--out", out, "--device", "cpu")
    assert code == 1
    assert line.startswith("malt: there is no folder nobody/no-such-base, and the hub could not be reached (")
    assert line.endswith("); fetch it where there is a network, or give a folder")


def test_a_base_of_an_unknown_family_is_refused_and_the_known_ones_listed(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    index = (other / "model_index.json").read_text()
    (other / "model_index.json").write_text(index.replace("WanPipeline", "AudioLDM2Pipeline"))
    code, line = said(capsys, "generate", PROMPT, "--base", other, "--out", tmp_path / "walk.mp4")
    assert code == 2
    assert line.startswith("malt: malt does not know how AudioLDM2Pipeline makes video; it knows WanPipeline, ")


def test_a_base_whose_autoencoder_has_no_codec_is_refused_before_it_is_loaded(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    config = other / "vae" / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKLWan", "AutoencoderDC"))
    code, line = said(capsys, "generate", PROMPT, "--base", other, "--out", tmp_path / "walk.mp4")
    assert code == 2
    assert "is AutoencoderDC, for which there is no codec; give a base with one of AutoencoderMalt, " in line


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no weights", "transformer has no weights (*.safetensors); copy the checkpoint again, whole"),
        (
            "pickled",
            "transformer has pickled weights (diffusion_pytorch_model.bin), which can run code and are refused",
        ),
        ("a shard", "diffusion_pytorch_model-00002-of-00002.safetensors is missing; copy the checkpoint again, whole"),
        ("a library", "transformer is quantised by torchao, which is not installed; pip install torchao"),
        (
            "a GPU",
            "transformer is quantised by bitsandbytes, which needs a GPU, and there is none; use a computer that has",
        ),
        ("a layer", "transformer lacks 27 weights, such as blocks.3.scale_shift_table; copy it again, whole"),
        (
            "a layer of text",
            "text_encoder lacks 10 weights, such as encoder.block.1.layer.0.SelfAttention.q.weight; copy",
        ),
        ("no part", "lacks its vae; copy it again, whole"),
        ("no index", "is no pipeline of diffusers (it has no model_index.json); give the folder that has one"),
    ],
)
def test_a_base_that_is_not_whole_or_not_safe_is_refused(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    message: str,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    weights = other / "transformer" / "diffusion_pytorch_model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "pickled":
        weights.unlink()
        torch.save({}, weights.with_suffix(".bin"))
    elif damage == "a shard":
        index = '{"weight_map": {"a": "diffusion_pytorch_model-00002-of-00002.safetensors"}}'
        weights.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(index)
    elif damage == "a library":
        monkeypatch.setattr("malt.pipelines.checkpoint_check.find_spec", lambda name: None)
        quantised_by("torchao", other / "transformer")
    elif damage == "a GPU":
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        quantised_by("bitsandbytes", other / "transformer")
    elif damage.startswith("a layer"):
        config = other / ("text_encoder" if damage.endswith("text") else "transformer") / "config.json"
        settings = json.loads(config.read_text())
        config.write_text(json.dumps(settings | {"num_layers": settings["num_layers"] + 1}))
    elif damage == "no part":
        shutil.rmtree(other / "vae")
    else:
        (other / "model_index.json").unlink()
    code, line = said(capsys, "generate", PROMPT, "--base", other, "--out", tmp_path / "walk.mp4")
    assert code == 1 and message in line


def quantised_by(library: str, model: Path) -> None:
    config = model / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": library}}))


def test_a_quantised_base_that_its_library_does_not_load_here_is_not_to_be_copied_again(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_given: object, **_named: object) -> None:
        raise RuntimeError("None of the available devices are supported by the bitsandbytes version you have installed")

    other = tmp_path / "other"
    shutil.copytree(base, other)
    quantised_by("bitsandbytes", other / "text_encoder")
    monkeypatch.setattr("malt.pipelines.checkpoint_check.find_spec", lambda name: name)
    monkeypatch.setattr("diffusers.DiffusionPipeline.from_pretrained", load)
    monkeypatch.setattr("diffusers.WanPipeline.from_pretrained", load)
    code, line = said(capsys, "generate", PROMPT, "--base", other, "--out", tmp_path / "walk.mp4")
    true = (
        "you have installed); it is quantised: see that bitsandbytes runs on this computer, or give a base that is not"
    )
    assert code == 1 and true in line
    with pytest.raises(CheckpointError, match="it is quantised: see that bitsandbytes runs on this computer"):
        base_parts(other, ("text_encoder", "tokenizer"))


def test_an_adapter_on_the_hub_is_fetched_by_its_name(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[str]()

    def fetch(name: str, **hub: object) -> Path:
        asked.append(name)
        return adapter

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("malt.hub.fetching.snapshot_download", fetch)
    made = ["generate", PROMPT, "--base", base, "--frames", 17, *SIZE]
    assert said(capsys, *made, "--adapter", "somebody/walks", "--out", "there.mp4")[0] == 0
    assert said(capsys, *made, "--adapter", adapter, "--out", "here.mp4")[0] == 0
    assert asked == ["somebody/walks"] and Path("there.mp4").read_bytes() == Path("here.mp4").read_bytes()


def test_an_adapter_of_another_base_is_refused(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny.saved(tmp_path / "other", "wider wan")
    out = tmp_path / "walk.mp4"
    code, line = said(
        capsys, "generate", PROMPT, "--base", other, "--adapter", adapter, "--out", out, "--device", "cpu"
    )
    assert code == 2 and line.startswith("malt: the adapter was made for ") and "; give that base" in line
