"""Pooled segments may have one token for several places of a frame."""

import pytest
import torch

import tiny
from malt.memory.hierarchical import HierarchicalConfig, HierarchicalMemory, coarsen
from malt.memory.protocol import Conditions, Layout, SegmentRecord
from malt.memory.state import State, num_bytes
from malt.models.positions import rotation

WIDTH = 8


def halved(**settings: int) -> HierarchicalMemory:
    return HierarchicalMemory(WIDTH, 1, HierarchicalConfig(num_pooled=2, pooled_side=2, **settings))


def conditions(layout: Layout) -> Conditions:
    return Conditions(layout, torch.zeros(1, 1, 3), torch.ones(1, 1, dtype=torch.bool))


@pytest.mark.parametrize(("rows", "columns", "coarse"), [(4, 6, 6), (5, 3, 6)])
def test_pooled_frames_take_a_place_for_every_four(rows: int, columns: int, coarse: int) -> None:
    layout, memory = Layout(3, rows, columns), halved()
    state = memory.empty(1, layout, torch.zeros(1))
    assert state.valid.shape == (1, 3 * rows * columns + 2 * coarse)
    for n in range(4):
        hidden = torch.randn(1, 3 * rows * columns, WIDTH, generator=torch.Generator().manual_seed(n))
        state = memory.write(SegmentRecord(hidden, conditions(layout)), state)
    assert state.valid.all() and state.valid.shape == (1, 3 * rows * columns + 2 * coarse)
    found = memory.context(state, conditions(layout))
    older, last = found.grids(layout)
    assert (older.times, last.times) == ((-5, -4), (-3, -2, -1))
    assert torch.equal(torch.cat([older.tokens, last.tokens], dim=1), state.tokens)


def test_a_coarse_token_is_the_mean_of_what_is_known_of_its_places() -> None:
    tokens = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [5.0, 5.0], [1.0, 0.0], [0.0, 3.0]])
    known = torch.tensor([[True, True, False, False, True, False]])
    frame = coarsen(State(tokens[None], known), Layout(1, 3, 2), 2)
    assert frame.valid.tolist() == [[True, True]]
    assert torch.allclose(frame.tokens, torch.tensor([[[1.0, 1.0], [2.0**0.5, 0.0]]]), atol=1e-4)


def test_a_coarse_token_stands_in_the_middle_of_its_places() -> None:
    here = torch.device("cpu")
    coarse, fine = (
        torch.atan2(*table.flip(-1).unbind(-1))
        for table in (rotation((0,), 1, 1, 8, here, 2), rotation((0,), 2, 2, 8, here))
    )
    assert torch.allclose(coarse[0], fine.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("window", [None, (2, 4)])
@torch.no_grad()
def test_a_model_reads_coarse_frames(window: tuple[int, int] | None) -> None:
    settings = {"memory": "hierarchical", "memory_size": 2, "window_size": window}
    model = tiny.transformer(**settings, memory_config={"pooled_side": 2})
    fine = tiny.transformer(**settings)
    memory = tiny.remember(model, 4)
    assert num_bytes(memory) < num_bytes(tiny.remember(fine, 4))
    given = tiny.segment()
    empty = model(memory=None, **given).velocity
    assert torch.allclose(empty, fine(memory=None, **given).velocity, atol=1e-5)
    recent = tuple(State(s.tokens, s.valid & (torch.arange(s.valid.shape[1]) >= 8)) for s in memory)
    made = [model(memory=m, **given).velocity for m in (memory, recent)]
    assert not torch.allclose(made[0], empty) and not torch.allclose(made[0], made[1])


def test_a_side_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a pooled_side of 0 tokens cannot be; give 1 or more"):
        HierarchicalConfig(pooled_side=0)
