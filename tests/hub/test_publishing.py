"""A pipeline's folder says what it is, loads by diffusers alone, and goes to the hub whole or not at all."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from huggingface_hub import constants

import malt
import tiny_hub
import tiny_pipeline
from malt.adapters import add_memory, read_adapter, save_adapter
from malt.cli import main
from malt.commands.generate import GenerateCommand
from malt.errors import CheckpointError, MaltError, UsageError
from malt.hub.base_names import public_name
from malt.hub.fetching import fetch
from malt.hub.model_card import HERE, adapter_card, pipeline_card, write_card
from malt.hub.publishing import publish
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from tiny_bases import TINY_BASES
from tiny_hub import Hub
from tiny_pipeline import PROMPT, SEGMENT, SIDE


@pytest.fixture(scope="module")
def pipe() -> MaltPipeline:
    return tiny_pipeline.pipeline()


@pytest.fixture
def folder(pipe: MaltPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with tiny_hub.reached(monkeypatch) as running:
        yield running


def make(pipe: Any) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(PROMPT, num_frames=SEGMENT, generator=torch.Generator().manual_seed(0), output_type="pt").frames
    assert isinstance(frames, torch.Tensor)
    return frames


def head_of(card: str) -> dict[str, Any]:
    """What the hub reads of a card."""
    _, head, _ = card.split("---\n", 2)
    read: dict[str, Any] = yaml.safe_load(head)
    return read


def test_diffusers_alone_loads_a_pipelines_folder(pipe: MaltPipeline, folder: Path) -> None:
    loaded = DiffusionPipeline.from_pretrained(str(folder), custom_pipeline=str(folder), trust_remote_code=True)
    assert type(loaded) is MaltPipeline
    assert torch.equal(make(loaded), make(pipe))
    assert torch.equal(make(load_pipeline(folder)), make(pipe))


def test_the_door_of_diffusers_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "malt", None)
    with pytest.raises(ModuleNotFoundError, match="this model is made for malt; run `python -m pip install malt-diff"):
        exec(compile((folder / "pipeline.py").read_text(), "pipeline.py", "exec"), {})


def test_a_saved_pipeline_has_a_card_that_says_what_it_is(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert head_of(card) == {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-video",
        "tags": ["malt", "video-generation"],
    }
    for row in ("| frames | 32x32, 8 a second |", "| segment | 8 frames |", "| memory | ", "| denoising steps | 2 |"):
        assert row in card
    assert "| actions |" not in card
    assert "Add a line such as `license: apache-2.0`" in card
    acting = tiny_pipeline.pipeline(settings={"action_names": ["steering", "throttle"]}, action_dim=8)
    acting.save_pretrained(folder.parent / "acting")
    assert "| actions | steering, throttle |" in (folder.parent / "acting" / "README.md").read_text()


def test_a_card_names_licence_and_base_where_they_are_known() -> None:
    card = pipeline_card("Mine", {}, licence="apache-2.0")
    assert head_of(card)["license"] == "apache-2.0"
    assert "Of the weights: `apache-2.0`." in card
    card = adapter_card("A memory", "somebody/base", {"memory": "slots", "rows": None}, licence="mit")
    about = head_of(card)
    assert (about["base_model"], about["base_model_relation"], about["license"]) == ("somebody/base", "adapter", "mit")
    assert "| memory | slots |" in card
    assert "rows" not in card
    assert "--base somebody/base --adapter" in card


def test_the_program_on_a_card_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (folder / "README.md").read_text().replace(HERE, str(folder))
    program = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    exec(program.replace("128", str(2 * SEGMENT)), {})
    assert capsys.readouterr().out.splitlines()[-1] == f"{SEGMENT} torch.Size([1, {SEGMENT}, 3, {SIDE}, {SIDE}])"


def test_the_command_on_an_adapters_card_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = re.findall(r"^malt (.*)$", adapter_card("A memory", "somebody/base", {}), re.MULTILINE)
    heard: list[GenerateCommand] = []
    monkeypatch.setattr(GenerateCommand, "run", lambda command: heard.append(command))
    assert main(shlex.split(command)) == 0
    assert (heard[0].base, heard[0].adapter) == ("somebody/base", Path("memory"))


def test_a_card_that_was_written_by_hand_stays(pipe: MaltPipeline, folder: Path) -> None:
    (folder / "README.md").write_text("by hand")
    pipe.save_pretrained(folder)
    write_card(folder, "another")
    assert (folder / "README.md").read_text() == "by hand"


def test_push_to_hub_uploads_everything_in_one_commit(pipe: MaltPipeline, folder: Path, hub: Hub) -> None:
    where = pipe.push_to_hub("somebody/walks")
    assert where == f"{hub.address}/somebody/walks"
    assert hub.commits == ["Upload MaltPipeline"]
    uploaded = hub.repositories["somebody/walks"]
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert uploaded.keys() == files.keys()
    assert all(uploaded[name] == path.read_bytes() for name, path in files.items() if name != "README.md")
    card = uploaded["README.md"].decode()
    assert 'from_pretrained("somebody/walks")' in card
    assert HERE not in card


def test_save_pretrained_may_push_too(pipe: MaltPipeline, hub: Hub, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "walks", push_to_hub=True, repo_id="somebody/walks", commit_message="First")
    assert hub.commits == ["First"]
    assert HERE in (tmp_path / "walks" / "README.md").read_text()


def test_a_card_on_the_hub_stays(folder: Path, hub: Hub) -> None:
    hub.repositories["somebody/walks"] = {"README.md": b"by hand"}
    publish(folder, "somebody/walks")
    assert hub.repositories["somebody/walks"]["README.md"] == b"by hand"
    assert "model_index.json" in hub.repositories["somebody/walks"]


def test_what_is_no_model_or_not_safe_is_not_uploaded(folder: Path, tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(UsageError, match="holds no pipeline and no adapter; give a folder with model_index.json or"):
        publish(tmp_path, "somebody/walks")
    (folder / "transformer" / "weights.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="holds transformer/weights.bin, which is neither safetensors nor settings"):
        publish(folder, "somebody/walks")
    assert hub.repositories == {}


def test_a_hub_that_refuses_or_is_not_there_is_a_sentence(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="the hub takes no repository called 'a/b/c'; give a name such as"):
        publish(folder, "a/b/c")
    hub.forbidden = True
    with pytest.raises(MaltError, match="lets nobody write to somebody/walks with this token; run `hf auth login`"):
        publish(folder, "somebody/walks")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MaltError, match="the hub could not be reached .*; nothing was uploaded, try again"):
        publish(folder, "somebody/walks")


def test_what_was_pushed_is_loaded_from_the_hub_without_its_code(pipe: MaltPipeline, hub: Hub, tmp_path: Path) -> None:
    pipe.push_to_hub("somebody/walks")
    hub.repositories["somebody/walks"]["transformer/weights.bin"] = b"a pickle"
    loaded = MaltPipeline.from_pretrained("somebody/walks", cache_dir=tmp_path)
    assert torch.equal(make(loaded), make(pipe))
    fetched = {path.name for path in tmp_path.rglob("snapshots/**/*")}
    assert "model_index.json" in fetched
    assert not fetched & {"pipeline.py", "weights.bin"}


def test_a_model_that_the_hub_does_not_have_is_refused_in_a_sentence(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="no folder somebody/gone, and the hub has no such repository that you m"):
        MaltPipeline.from_pretrained("somebody/gone", cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="no folder a/b/c, and the hub has no such names; check the name"):
        fetch("a/b/c", cache_dir=tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="the hub could not be reached .*; fetch it where there is a network, or"):
        fetch("somebody/walks", cache_dir=tmp_path)


def test_an_adapter_goes_to_the_hub_with_the_name_of_its_base(hub: Hub, tmp_path: Path) -> None:
    save_adapter(TINY_BASES["wan"].adapted(memory="slots", memory_size=4), tmp_path / "adapter", "somebody/base")
    publish(tmp_path / "adapter", "somebody/memory")
    uploaded = hub.repositories["somebody/memory"]
    assert sorted(uploaded) == ["README.md", "adapter.json", "adapter.safetensors"]
    card = uploaded["README.md"].decode()
    assert head_of(card)["base_model"] == "somebody/base"
    assert "hf download somebody/memory --local-dir memory" in card
    assert "--base somebody/base --adapter memory" in card
    folder = fetch("somebody/memory", cache_dir=tmp_path / "cache")
    assert read_adapter(folder).base.name == "somebody/base"
    add_memory(TINY_BASES["wan"].base(), folder)


def test_an_adapter_says_nothing_of_where_its_base_lay(hub: Hub, tmp_path: Path) -> None:
    adapted = TINY_BASES["wan"].adapted(memory="slots", memory_size=4, lora_rank=2)
    save_adapter(adapted, tmp_path / "adapter", str(tmp_path / "bases" / "wan"))
    assert all(str(tmp_path).encode() not in path.read_bytes() for path in (tmp_path / "adapter").iterdir())
    described = json.loads((tmp_path / "adapter" / "adapter.json").read_text())
    assert described["base"]["name"] == "wan"
    described["base"]["name"] = str(tmp_path / "bases" / "wan")  # as earlier versions wrote it
    (tmp_path / "adapter" / "adapter.json").write_text(json.dumps(described))
    publish(tmp_path / "adapter", "somebody/memory")
    uploaded = hub.repositories["somebody/memory"]
    assert json.loads(uploaded["adapter.json"])["base"]["name"] == "wan"
    assert all(str(tmp_path).encode() not in content for content in uploaded.values())


def test_a_pipeline_says_nothing_of_where_it_lay(hub: Hub, folder: Path, tmp_path: Path) -> None:
    MaltPipeline.from_pretrained(folder).save_pretrained(tmp_path / "again")
    publish(tmp_path / "again", "somebody/walks")
    uploaded = hub.repositories["somebody/walks"]
    assert all(str(tmp_path).encode() not in content for content in uploaded.values())


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/home/me/bases/wan/transformer", "wan"),
        ("/home/me/bases/wan/", "wan"),
        (
            "~/.cache/huggingface/hub/models--Wan-AI--Wan2.1-T2V-1.3B-Diffusers/snapshots/0f",
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        ),
        ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    ],
)
def test_strangers_know_a_base_by_its_name(place: str, name: str) -> None:
    assert public_name(place) == name


def test_the_card_of_an_adapter_for_a_folder_tells_nothing_of_its_place(tmp_path: Path) -> None:
    card = adapter_card("A memory", str(tmp_path / "wan"), {})
    assert str(tmp_path) not in card
    assert "base_model" not in head_of(card)
    assert "--base wan" in card


@pytest.mark.slow
def test_what_was_fetched_from_the_hub_is_loaded_by_diffusers_alone(
    pipe: MaltPipeline, hub: Hub, tmp_path: Path
) -> None:
    pipe.push_to_hub("somebody/walks")
    torch.save(make(pipe), tmp_path / "made.pt")
    (shown,) = re.findall(
        r"```python\n(from diffusers.*?)```", hub.repositories["somebody/walks"]["README.md"].decode(), re.S
    )
    program = f"""
import torch
{shown}
made = pipe({PROMPT!r}, num_frames={SEGMENT}, generator=torch.Generator().manual_seed(0), output_type="pt").frames
assert torch.equal(made, torch.load({str(tmp_path / "made.pt")!r}))
"""
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(Path(malt.__file__).parents[1]),
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=200, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
