"""What an adapter of a released base takes, by arithmetic: from the settings of Wan 2.1 1.3B, without its weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from malt.adapters import AdaptedTransformer3DModel, add_memory
from malt.training.base_settings import base_without_weights
from malt.training.recipes import adapt

BASE = Path(__file__).parents[2] / "experiments" / "bases" / "wan2.1-t2v-1.3b"
ROWS, COLUMNS = 480 // 8, 832 // 8  # of latents
HALVED = replace(adapt().adapter, memory_config={"num_pooled": 6, "pooled_side": 2})


@pytest.fixture(scope="module")
def model() -> AdaptedTransformer3DModel:
    """The adapter of the recipe, its pooled frames halved in space."""
    with torch.device("meta"):
        return add_memory(base_without_weights(BASE, torch.bfloat16), HALVED.settings)


def test_a_session_takes_its_tokens_in_halves_and_a_byte_for_each(model: AdaptedTransformer3DModel) -> None:
    layers, tokens = 30 // 3, (ROWS // 2) * (COLUMNS // 2)
    places = 3 * tokens + 6 * tokens // 4
    assert model.memory_bytes(1, ROWS, COLUMNS) == layers * places * (2 * 1536 + 1) < 210 * 2**20


def test_what_learns_is_a_twentieth_of_the_base_at_the_most(model: AdaptedTransformer3DModel) -> None:
    learned = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters()) - learned
    assert 0 < learned < frozen / 20
