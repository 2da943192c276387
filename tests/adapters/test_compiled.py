"""Blocks of a base with a memory may be compiled, each as a whole."""

import pytest
import torch

from tiny_bases import TINY_BASES, remember, run


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", TINY_BASES)
def test_compiled_blocks_compute_the_same(name: str) -> None:
    tiny = TINY_BASES[name]
    model, given = tiny.adapted(), tiny.given()
    memory = remember(tiny, model)
    want = [run(model, given, known).velocity for known in (None, memory)]
    for block in model.blocks:
        block.compile(
            fullgraph=True, backend="aot_eager"
        )  # traced whole, and not turned into code, which takes minutes
    for known, velocity in zip((None, memory), want, strict=True):
        assert torch.allclose(run(model, given, known).velocity, velocity, atol=1e-5)
