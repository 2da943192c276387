"""Laws of `malt push`: what is uploaded is whole and is told before; what goes wrong is one sentence."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import tiny_base_pipelines
import tiny_hub
import tiny_pipeline
from malt.cli import main
from tiny_hub import Hub


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny_pipeline.pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with tiny_hub.reached(monkeypatch) as running:
        yield running


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence of a command that fails."""
    assert main(["push", *map(str, arguments)]) in (1, 2)
    *_, sentence = capsys.readouterr().err.splitlines()
    return sentence


def test_a_model_is_uploaded_whole(saved: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(saved), "somebody/walks", "--message", "The first"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{hub.address}/somebody/walks\n"
    assert "README.md names no licence; without one, others may not use it" in said.err
    assert hub.commits == ["The first"]
    there = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert hub.repositories["somebody/walks"].keys() == there


def test_a_dry_run_tells_what_would_be_uploaded_and_asks_the_hub_nothing(
    saved: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.forbidden = True
    assert main(["push", str(saved), "somebody/walks", "--dry-run"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    files = {path.relative_to(saved).as_posix(): path for path in saved.rglob("*") if path.is_file()}
    assert {line.split()[0] for line in lines} == files.keys()
    assert first.startswith(f"{len(files)} files, ")
    assert first.endswith(" would be in somebody/walks:")
    size = (saved / "model_index.json").stat().st_size
    assert f"model_index.json {size:,} bytes" in " ".join(next(n for n in lines if " model_index" in n).split())
    assert hub.repositories == {}


@pytest.mark.parametrize("flags", [(), ("--private",)])
def test_a_new_repository_is_private_only_where_that_is_said(saved: Path, hub: Hub, flags: tuple[str, ...]) -> None:
    assert main(["push", str(saved), "somebody/walks", *flags]) == 0
    (made,) = hub.created
    assert (made.get("private") is True or made.get("visibility") == "private") == bool(flags)


def test_what_a_run_made_is_found_in_its_folder(hub: Hub, tmp_path: Path) -> None:
    tiny_base_pipelines.saved_memory(tmp_path / "run" / "adapter")
    assert main(["push", str(tmp_path / "run"), "somebody/memory"]) == 0
    assert sorted(hub.repositories["somebody/memory"]) == ["README.md", "adapter.json", "adapter.safetensors"]


def test_a_memory_for_two_transformers_is_uploaded_as_one(hub: Hub, tmp_path: Path) -> None:
    for name in ("transformer", "transformer_2"):
        tiny_base_pipelines.saved_memory(tmp_path / name)
    assert main(["push", str(tmp_path), "somebody/memory"]) == 0
    assert {"transformer/adapter.json", "transformer_2/adapter.json"} <= hub.repositories["somebody/memory"].keys()


def test_what_cannot_be_pushed_is_one_sentence(
    saved: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no folder" in refused(capsys, tmp_path / "gone", "a/b")
    assert "holds no model, no adapter and no run" in refused(capsys, tmp_path, "a/b")
    assert "the hub takes no repository called 'a/b/c'; give a name such as" in refused(capsys, saved, "a/b/c")
    assert "walks names no owner; give OWNER/NAME, such as somebody/walks" in refused(capsys, saved, "walks")
    assert "walks names no owner; give OWNER/NAME" in refused(capsys, saved, "walks", "--dry-run")
    (tmp_path / "experiment.json").write_text("{}")
    assert "is not finished; write its newest model by malt export, and push that" in refused(capsys, tmp_path, "a/b")
    memory = tiny_base_pipelines.saved_memory(tmp_path / "memory")
    (memory / "notes.docx").touch()
    assert "holds notes.docx, which is neither safetensors nor settings" in refused(capsys, memory, "a/b")
    (memory / "adapter.safetensors").write_bytes(b"half")
    assert "adapter.safetensors is damaged or cut short; copy it again" in refused(capsys, memory, "a/b")
    hub.forbidden = True
    assert "the hub lets nobody write to a/b with this token; run `hf auth login`" in refused(capsys, saved, "a/b")
    assert hub.repositories == {}


def test_half_a_model_is_not_uploaded(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_pipeline.pipeline().save_pretrained(tmp_path / "mine")
    next((tmp_path / "mine" / "vae").glob("*.safetensors")).unlink()
    assert "copy" in refused(capsys, tmp_path / "mine", "a/b")
    assert hub.repositories == {}


def test_a_hub_that_is_switched_off_is_one_sentence(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "the hub is switched off here (HF_HUB_OFFLINE); unset that" in refused(capsys, saved, "a/b")
