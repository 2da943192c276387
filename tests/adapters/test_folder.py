"""An adapter is saved alone, beside what says which base it belongs to, and is refused where it does not fit."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from malt.adapters import AdaptedTransformer3DModel, add_memory, read_adapter, remove_memory, save_adapter
from malt.adapters.lora import NAME
from malt.errors import CheckpointError, UsageError
from tiny_bases import TINY_BASES, TinyBase, remember, run

SETTINGS: dict[str, Any] = {"memory": "slots", "memory_size": 4, "memory_width": 8, "lora_rank": 2}


@pytest.fixture(params=TINY_BASES)
def tiny(request: pytest.FixtureRequest) -> TinyBase:
    return TINY_BASES[request.param]


WAN = TINY_BASES["wan"]


def learned(tiny: TinyBase, **settings: Any) -> AdaptedTransformer3DModel:
    """As after training: all that can learn has changed."""
    model = tiny.adapted(**SETTINGS | settings)
    torch.manual_seed(4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter of the tiny Wan."""
    save_adapter(learned(WAN), tmp_path / "adapter", "the/base")
    return tmp_path / "adapter"


@torch.no_grad()
def test_an_adapter_comes_back_as_it_was_saved(tiny: TinyBase, tmp_path: Path) -> None:
    model, given = learned(tiny), tiny.given()
    memory = remember(tiny, model)
    save_adapter(model, tmp_path, settings={"frame_rate": 16})
    again = add_memory(tiny.base(), tmp_path)
    assert torch.equal(run(again, given, memory).velocity, run(model, given, memory).velocity)
    assert again.adapter.config.memory_width == 8 and again.adapter.config.every == model.adapter.config.every
    assert read_adapter(tmp_path).settings == {"frame_rate": 16}


def test_nothing_of_the_base_is_saved(folder: Path) -> None:
    base = {name: weight.shape for name, weight in WAN.base().named_parameters()}
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "adapter.json",
        "adapter.safetensors",
        "lora.safetensors",
    ]
    saved = load_file(folder / "adapter.safetensors") | load_file(folder / "lora.safetensors")
    assert not saved.keys() & base.keys()
    assert all("lora" in name or name.startswith("layers.") for name in saved)


def test_the_lora_of_an_adapter_is_one_that_diffusers_loads(folder: Path) -> None:
    base, given = WAN.base(), WAN.given()
    base.load_lora_adapter(folder, prefix=None, weight_name="lora.safetensors")
    with torch.no_grad():
        assert torch.equal(WAN.alone(base, given), run(add_memory(WAN.base(), folder), given).velocity)


def test_a_base_is_not_cast_to_save_a_lora_as_a_quantised_one_refuses_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = learned(WAN)
    with monkeypatch.context() as quantised:
        quantised.setattr(type(model.base), "to", lambda self, *given, **named: pytest.fail("the base was cast"))
        save_adapter(model, tmp_path / "ours", "the/base")
    model.base.save_lora_adapter(tmp_path, adapter_name=NAME, weight_name="theirs.safetensors")
    ours, theirs = (
        load_file(file) for file in (tmp_path / "ours" / "lora.safetensors", tmp_path / "theirs.safetensors")
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@torch.no_grad()
def test_a_lora_that_learns_along_changes_nothing_to_begin_with_and_goes_with_the_adapter(tiny: TinyBase) -> None:
    base, given = tiny.base(), tiny.given()
    alone, names = tiny.alone(base, given), list(base.state_dict())
    model = tiny.adapted(base, **SETTINGS)
    assert torch.equal(run(model, given).velocity, alone)
    assert all("lora" in name for name, parameter in base.named_parameters() if parameter.requires_grad)
    for parameter in base.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    assert not torch.equal(run(model, given).velocity, alone)
    remove_memory(model)
    assert torch.equal(tiny.alone(base, given), alone) and list(base.state_dict()) == names


def test_an_adapter_of_another_base_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="made for WanTransformer3DModel .the/base., not for SkyReelsV2Trans"):
        add_memory(TINY_BASES["skyreels-v2"].base(), folder)
    wider = WAN.base()
    wider.register_to_config(ffn_dim=48)
    with pytest.raises(UsageError, match="made for the/base, whose ffn_dim is 32, not 48; give that base"):
        add_memory(wider, folder)


def test_a_base_with_other_weights_is_remarked_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tuned = WAN.base()
    tuned.proj_out.weight.data += 1
    with caplog.at_level(logging.WARNING, logger="malt.adapters"):
        add_memory(tuned, folder)
    assert caplog.messages == ["this base has other weights than the/base, for which the adapter was made"]
    caplog.clear()
    add_memory(WAN.base().to(torch.bfloat16), folder)
    assert [record for record in caplog.records if record.name.startswith("malt")] == []


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not an adapter .it has no adapter.json.; check the name"):
        add_memory(WAN.base(), tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": 1, "base": {}, "adapter": {}}'])
def test_a_damaged_description_is_refused(folder: Path, text: str) -> None:
    (folder / "adapter.json").write_text(text)
    with pytest.raises(CheckpointError, match="adapter.json is damaged; copy the adapter again, whole"):
        read_adapter(folder)


def test_a_later_format_is_refused(folder: Path) -> None:
    file = folder / "adapter.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="of format 2, this version reads 1; update malt"):
        read_adapter(folder)


@pytest.mark.parametrize("name", ["adapter.safetensors", "lora.safetensors"])
def test_missing_weights_are_refused_and_pickled_ones_are_not_read(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks its {name}; copy it again, whole"):
        add_memory(WAN.base(), folder)
    (folder / "adapter.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"lacks its {name}; adapter.pt is pickled, which can run code"):
        add_memory(WAN.base(), folder)


@pytest.mark.parametrize("name", ["adapter.safetensors", "lora.safetensors"])
def test_cut_weights_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    with pytest.raises(CheckpointError, match=f"{name} is damaged or cut short; copy it again"):
        add_memory(WAN.base(), folder)


@pytest.mark.parametrize("name", ["adapter.safetensors", "lora.safetensors"])
def test_weights_of_other_sizes_are_refused(folder: Path, name: str) -> None:
    tensors = load_file(folder / name)
    save_file({key: tensor[:1].clone() for key, tensor in tensors.items()}, folder / name)
    with pytest.raises(CheckpointError, match=f"{name} does not fit its adapter.json"):
        add_memory(WAN.base(), folder)


def test_what_was_refused_leaves_the_base_as_it_was(folder: Path) -> None:
    (folder / "lora.safetensors").unlink()
    base = WAN.base()
    names = list(base.state_dict())
    with pytest.raises(CheckpointError):
        add_memory(base, folder)
    assert list(base.state_dict()) == names
    WAN.adapted(base)
