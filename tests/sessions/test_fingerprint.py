"""Laws of fingerprints: a model is told by what it computes, not by what its parts are called."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

import tiny_pipeline
from malt.sessions import fingerprint
from malt.sessions.fingerprint import identify


def test_the_name_of_a_lora_and_compiling_leave_the_model_what_it_is(tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["to_q"], init_lora_weights="gaussian")
    named = []
    for name in ("default_0", "mine"):
        pipe = tiny_pipeline.pipeline()
        torch.manual_seed(0)
        tiny_pipeline.network(pipe).add_adapter(config, adapter_name=name)
        named.append(identify(pipe).sha256)
    plain: Any = tiny_pipeline.pipeline()
    before = identify(plain).sha256
    assert named[0] == named[1] != before
    plain.transformer = torch.compile(plain.transformer)
    assert identify(plain).sha256 == before


def test_a_large_models_hash_is_taken_once_and_follows_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tiny_pipeline.pipeline()
    whole = identify(pipe)
    monkeypatch.setattr(fingerprint, "LARGE", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fingerprint, "_MET", {})
    assert identify(pipe) == whole
    monkeypatch.setattr(fingerprint, "_MET", {})  # as in another process
    monkeypatch.setattr(fingerprint, "_hash", lambda *_: "taken again")
    assert identify(pipe) == whole
    with torch.no_grad():
        tiny_pipeline.network(pipe).proj_out.bias[0] += 1e-3
    assert identify(pipe).sha256 == "taken again"


def test_the_hash_of_a_model_that_was_met_is_not_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tiny_pipeline.pipeline()
    whole = identify(pipe)
    monkeypatch.setattr(fingerprint, "_hash", lambda *_: "taken again")
    assert identify(pipe) == whole


@pytest.mark.parametrize("change", ["in place", "behind its back", "in order", "by another", "by settings"])
def test_a_model_that_was_met_and_changed_has_another_hash(change: str) -> None:
    pipe = tiny_pipeline.pipeline()
    before, weight = identify(pipe).sha256, tiny_pipeline.network(pipe).proj_out.weight
    with torch.no_grad():
        if change == "in place":
            weight[0, 0] += 1e-3
        elif change == "behind its back":
            weight.data[0, 0] += 1e-3
        elif change == "in order":
            weight.copy_(weight.flip(0).clone())
        elif change == "by another":
            weight.data = weight.data.flip(1)
        else:
            tiny_pipeline.network(pipe).register_to_config(memory_config={"size": 3})
    assert identify(pipe).sha256 != before


def test_a_setting_that_came_later_counts_only_where_it_is_set() -> None:
    pipe = tiny_pipeline.pipeline()
    before = identify(pipe).sha256
    for value, same in ((None, True), ({"size": 3}, False)):
        tiny_pipeline.network(pipe).register_to_config(memory_config=value)
        assert (identify(pipe).sha256 == before) is same
