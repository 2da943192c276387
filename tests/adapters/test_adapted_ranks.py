"""Two ranks that share the weights of an adapted base (FSDP2) have the gradients that one has."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import adapted_ranks


@pytest.mark.slow
def test_two_ranks_have_the_gradients_of_one(tmp_path: Path) -> None:
    assert adapted_ranks.start(tmp_path) == [0, 0]
    for case in adapted_ranks.CASES:
        together, alone = (
            load_file(tmp_path / f"{case}.safetensors"),
            adapted_ranks.gradients(case, adapted_ranks.CHECKPOINTED),
        )
        assert together.keys() == alone.keys() and len(alone) > 3
        for name, gradient in alone.items():
            assert torch.allclose(together[name], gradient, atol=1e-6), name
