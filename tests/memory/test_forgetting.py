"""Laws of forgetting by hand, for every kind of memory: what resembles goes, everything else stays."""

import pytest
import torch

import tiny
from malt.memory.forgetting import without
from malt.memory.protocol import Layout
from malt.memory.registry import KINDS
from malt.memory.state import Memory, State
from malt.models.transformer import MaltTransformer3DModel

REMEMBERING = sorted(KINDS.keys() - {"none"})
LAYOUT = Layout(tiny.FRAMES, 2, 2)


def written(model: MaltTransformer3DModel, seed: int, memory: Memory | None = None, passes: int = 2) -> Memory:
    """The memory behind a few segments of noise."""
    chance = torch.Generator().manual_seed(seed)
    for _ in range(passes):
        latents = torch.randn(1, tiny.FRAMES, tiny.CHANNELS, 4, 4, generator=chance)
        memory = tell(model, latents, memory)
    assert memory is not None
    return memory


@torch.no_grad()
def tell(model: MaltTransformer3DModel, latents: torch.Tensor, memory: Memory | None) -> Memory:
    caption = torch.ones(1, 3, tiny.CAPTION), torch.ones(1, 3, dtype=torch.bool)
    return model(latents, torch.zeros(latents.shape[:2]), memory, *caption).memory


def forget(model: MaltTransformer3DModel, memory: Memory, gone: Memory) -> Memory:
    return without(memory, gone, model.memory_modules(), LAYOUT)


def read_alike(model: MaltTransformer3DModel, one: Memory, other: Memory) -> bool:
    """Whether a segment sees the same in two memories."""
    latents, caption = torch.ones(1, tiny.FRAMES, tiny.CHANNELS, 4, 4), torch.ones(1, 3, tiny.CAPTION)
    mask = torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        seen = [model(latents, torch.ones(latents.shape[:2]), each, caption, mask).velocity for each in (one, other)]
    return torch.allclose(seen[0], seen[1], atol=1e-5)


@pytest.mark.parametrize("kind", REMEMBERING)
def test_a_memory_without_itself_reads_as_an_empty_one(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    memory = written(model, 1)
    assert not read_alike(model, memory, model.empty_memory(1, 4, 4))
    assert read_alike(model, forget(model, memory, memory), model.empty_memory(1, 4, 4))


@pytest.mark.parametrize("kind", REMEMBERING)
def test_forgetting_what_was_never_there_changes_nothing(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    memory = written(model, 1)
    unlike = tuple(State(-state.tokens, state.valid) for state in memory)
    for gone in (unlike, model.empty_memory(1, 4, 4)):
        for before, after in zip(memory, forget(model, memory, gone), strict=True):
            assert torch.equal(before.valid, after.valid)
            assert torch.equal(before.tokens, after.tokens)


@pytest.mark.parametrize("kind", ["adaptive", "context", "multimodal"])
def test_what_came_after_what_is_forgotten_stays_and_more_can_be_written(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    gone = written(model, 1)
    memory = forget(model, written(model, 2, gone), gone)
    held = [int(state.valid.sum()) for state in memory]
    assert min(held) > 0
    again = written(model, 3, memory)
    assert all(int(state.valid.sum()) >= count for state, count in zip(again, held, strict=True))
