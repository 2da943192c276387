"""A base with a memory and the same base without one stand side by side, on one set of weights."""

from pathlib import Path

import pytest
import torch

from malt.errors import UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import load_adapted
from malt.pipelines.shared_base import with_memory
from malt.sessions.session import Session
from tiny_base_pipelines import PROMPT, USE, saved, saved_memory, two_expert_wan


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory of the tiny Wan that has learned something, LoRA included."""
    return saved_memory(tmp_path_factory.mktemp("memory"), lora_rank=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base"))


@pytest.fixture
def alone(folder: Path) -> AdaptedPipeline:
    pipe = load_adapted(folder, dtype=torch.float32)
    pipe.settings |= USE
    return pipe


def frames(pipe: AdaptedPipeline) -> torch.Tensor:
    session = Session.begin(pipe, PROMPT, seed=1)
    return torch.cat([session.advance().frames for _ in range(3)], dim=1)


def test_a_base_with_a_memory_is_what_loading_both_gives_and_the_base_stays_what_it_was(
    alone: AdaptedPipeline, folder: Path, adapter: Path
) -> None:
    before = frames(alone)
    remembering = with_memory(alone, adapter)
    expected = frames(load_adapted(folder, adapter, dtype=torch.float32))
    assert torch.equal(frames(remembering), expected)
    assert torch.equal(frames(alone), before)
    assert torch.equal(frames(with_memory(remembering, adapter)), expected)
    assert torch.equal(frames(remembering), expected)


def test_the_weights_of_the_base_are_shared(alone: AdaptedPipeline, adapter: Path) -> None:
    before = {name: weight.data_ptr() for name, weight in alone.base.transformer.named_parameters()}
    remembering = with_memory(alone, adapter)
    own = {weight.data_ptr() for name, weight in remembering.base.transformer.named_parameters() if "lora_" not in name}
    assert own == set(before.values())
    assert remembering.vae is alone.vae
    assert remembering.base.transformer is not alone.base.transformer
    assert {name: weight.data_ptr() for name, weight in alone.base.transformer.named_parameters()} == before


def test_a_base_of_two_transformers_has_two_memories_and_stays_what_it_was(tmp_path: Path) -> None:
    two_expert_wan().save_pretrained(tmp_path / "base")
    for name in ("transformer", "transformer_2"):
        saved_memory(tmp_path / "memory" / name)
    alone = load_adapted(tmp_path / "base", dtype=torch.float32)
    alone.settings |= USE
    before = frames(alone)
    remembering = with_memory(alone, tmp_path / "memory")
    remembering.settings |= USE
    expected = load_adapted(tmp_path / "base", tmp_path / "memory", dtype=torch.float32)
    expected.settings |= USE
    assert torch.equal(frames(remembering), frames(expected))
    assert torch.equal(frames(alone), before)


def test_a_memory_of_another_base_is_refused_and_harms_nothing(alone: AdaptedPipeline, tmp_path: Path) -> None:
    before = frames(alone)
    with pytest.raises(UsageError, match="the adapter was made for "):
        with_memory(alone, saved_memory(tmp_path, "skyreels-v2"))
    assert torch.equal(frames(alone), before)
