"""Laws of the memory, held by every kind, and what each kind promises beyond them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny
from malt.memory.bank import BankMemory
from malt.memory.registry import KINDS, build_memory
from malt.memory.state import (
    Memory,
    State,
    detach,
    forget,
    from_tensors,
    join,
    num_bytes,
    select,
    to_tensors,
    without_places,
)

REMEMBERING = [kind for kind in KINDS if kind != "none"]
WIDTH, GRID, CELLS = 16, (2, 2, 2), 4


def equal(ours: Memory, theirs: Memory) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))


def copied(memory: Memory) -> Memory:
    return tuple(State(state.tokens.clone(), state.valid.clone()) for state in memory)


def written(kind: str, num_segments: int = 1, seed: int = 10) -> Memory:
    return detach(tiny.remember(tiny.transformer(memory=kind), num_segments, first_seed=seed))


def tokens(seed: int, count: int = 8) -> Tensor:
    return torch.randn(tiny.BATCH, count, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_never_exceeds_its_bound(kind: str) -> None:
    model = tiny.transformer(memory=kind, memory_size=32 if kind == "bank" else None)
    memory = model.empty_memory(tiny.BATCH, tiny.SIDE, tiny.SIDE)
    shapes, size = [state.tokens.shape for state in memory], num_bytes(memory)
    for n in range(10):
        memory = detach(tiny.remember(model, 1, n, memory))
        assert [state.tokens.shape for state in memory] == shapes
        assert num_bytes(memory) == size
    assert all(state.valid.all() for state in memory)
    assert all(torch.isfinite(state.tokens).all() for state in memory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 3])
def test_a_segment_of_another_length_does_not_change_the_bound(kind: str, frames: int) -> None:
    model = tiny.transformer(memory=kind)
    memory = written(kind)
    _, renewed = model(memory=memory, **tiny.segment(frames=frames, level=0.0))
    assert [state.tokens.shape for state in renewed] == [state.tokens.shape for state in memory]


@pytest.mark.parametrize("kind", REMEMBERING)
def test_changing_the_remembered_past_changes_the_future(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    one, other = (model(memory=written(kind, seed=seed), **tiny.segment())[0] for seed in (10, 20))
    assert (one - other).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_is_never_changed_in_place(kind: str) -> None:
    model, memory = tiny.transformer(memory=kind), written(kind, 2)
    kept = copied(memory)
    once = model(memory=memory, **tiny.segment(level=0.0))
    forget(memory, torch.tensor([True] * tiny.BATCH))
    assert equal(memory, kept)
    again = model(memory=memory, **tiny.segment(level=0.0))
    assert torch.equal(once[0], again[0])
    assert equal(once[1], again[1])


@pytest.mark.parametrize("kind", KINDS)
def test_selecting_and_joining_take_videos_out_and_put_them_together(kind: str) -> None:
    memory = written(kind)
    parts = [select(memory, slice(0, 1)), select(memory, torch.tensor([1]))]
    assert equal(join(parts), memory)
    assert equal(join(reversed(parts)), select(memory, torch.tensor([1, 0])))


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgotten_memory_reads_and_writes_as_an_empty_one(kind: str) -> None:
    model, memory = tiny.transformer(memory=kind), written(kind, 2)
    forgotten = forget(memory, torch.tensor([True, False]))
    _, expected = model(memory=None, **tiny.segment(3, level=0.0))
    _, kept = model(memory=memory, **tiny.segment(3, level=0.0))
    _, renewed = model(memory=forgotten, **tiny.segment(3, level=0.0))
    found = model(memory=renewed, **tiny.segment())[0]
    torch.testing.assert_close(found[0], model(memory=expected, **tiny.segment())[0][0])
    torch.testing.assert_close(found[1], model(memory=kept, **tiny.segment())[0][1])


@pytest.mark.parametrize("kind", REMEMBERING)
def test_remembered_tokens_have_unit_root_mean_square(kind: str) -> None:
    for state in written(kind, 3):
        sizes = state.tokens.square().mean(dim=-1)[state.valid]
        torch.testing.assert_close(sizes, torch.ones_like(sizes), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_num_bytes_is_the_size_of_all_tensors(kind: str) -> None:
    memory = written(kind)
    assert num_bytes(memory) == sum(len(tensor.numpy().tobytes()) for tensor in to_tensors(memory).values())
    assert num_bytes(select(memory, slice(0, 1))) * tiny.BATCH == num_bytes(memory)


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_that_was_saved_is_the_one_that_is_loaded(kind: str, tmp_path: Path) -> None:
    for memory in (written(kind, 2), select(written(kind), slice(1, 2)), detach(empty(kind))):
        save_file(to_tensors(memory), tmp_path / "memory.safetensors")
        assert equal(from_tensors(load_file(tmp_path / "memory.safetensors")), memory)


def empty(kind: str) -> Memory:
    return tiny.transformer(memory=kind).empty_memory(tiny.BATCH, tiny.SIDE, tiny.SIDE)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stop_where_a_memory_is_detached(kind: str) -> None:
    memory = tiny.remember(tiny.transformer(memory=kind), 1)
    assert any(state.tokens.requires_grad for state in memory) == (kind != "none")
    assert not any(state.tokens.requires_grad for state in detach(memory))


def test_a_kind_there_is_not_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        ValueError,
        match="there is no memory called 'elephant'; choose one of recurrent, hierarchical, slots, bank, none",
    ):
        build_memory("elephant", WIDTH, 2)


@pytest.mark.parametrize("kind", ["recurrent", "slots"])
def test_what_is_remembered_outlives_as_many_segments_as_there_are_layers(kind: str) -> None:
    """A gradient reaches the first of six segments through two layers."""
    model = tiny.transformer(memory=kind, num_layers=2)
    first = tiny.segment(0, level=0.0)
    first["latents"].requires_grad_()
    _, memory = model(memory=None, **first)
    velocity, _ = model(memory=tiny.remember(model, 5, memory=memory), **tiny.segment())
    (gradient,) = torch.autograd.grad(velocity.square().sum(), first["latents"])
    assert gradient.abs().amax(dim=(2, 3, 4)).min() > 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_of_nothing_is_exactly_the_identity(kind: str) -> None:
    memory = tiny.randomised(build_memory(kind, WIDTH, 2))
    hidden = tokens(0)
    assert torch.equal(memory.read(hidden, memory.empty(tiny.BATCH, GRID, hidden)), hidden)


def test_an_untrained_bank_adds_nothing_to_the_hidden_state() -> None:
    bank, hidden = BankMemory(WIDTH, 2, size=4, per_segment=2), tokens(0)
    state = bank.write(tokens(1), bank.empty(tiny.BATCH, GRID, hidden), CELLS)
    assert torch.equal(bank.read(hidden, state), hidden)


def test_a_bank_is_first_in_first_out() -> None:
    bank = tiny.randomised(BankMemory(WIDTH, 2, size=6, per_segment=2))
    state = bank.empty(tiny.BATCH, GRID, tokens(0))
    entries: list[Tensor] = []
    for n in range(5):
        state = bank.write(tokens(n), state, CELLS)
        entries.append(bank.write(tokens(n), bank.empty(tiny.BATCH, GRID, tokens(0)), CELLS).tokens[:, -2:])
        there = min(n + 1, 3)
        assert state.valid.sum(dim=1).tolist() == [2 * there] * tiny.BATCH
        assert torch.equal(state.tokens[:, -2 * there :], torch.cat(entries[-there:], dim=1))


def test_a_bank_whose_entries_have_all_been_pushed_out_knows_nothing_of_them() -> None:
    bank, hidden = tiny.randomised(BankMemory(WIDTH, 2, size=4, per_segment=2)), tokens(0)
    states = [bank.write(tokens(seed), bank.empty(tiny.BATCH, GRID, hidden), CELLS) for seed in (1, 2)]
    one, other = (bank.read(hidden, bank.write(tokens(3), state, CELLS)) for state in states)
    assert not torch.allclose(one, other)
    one, other = (
        bank.read(hidden, bank.write(tokens(4), bank.write(tokens(3), state, CELLS), CELLS)) for state in states
    )
    assert torch.equal(one, other)


def test_a_bank_reads_by_softmax_attention_added_to_the_hidden_state() -> None:
    bank, hidden = tiny.randomised(BankMemory(WIDTH, 1, size=4, per_segment=2)), tokens(0)
    state = bank.write(tokens(1), bank.empty(tiny.BATCH, GRID, hidden), CELLS)
    stored = torch.cat([bank.nothing.expand(tiny.BATCH, -1, -1), state.tokens[:, -2:]], dim=1)
    unit = hidden / hidden.square().mean(dim=-1, keepdim=True).sqrt()
    keys, values = bank.to_kv(stored).chunk(2, dim=-1)
    weights = torch.softmax(bank.to_q(unit) @ keys.transpose(1, 2) / WIDTH**0.5, dim=-1)
    torch.testing.assert_close(bank.read(hidden, state), hidden + bank.to_out(weights @ values), rtol=1e-4, atol=1e-5)


def test_a_bank_holds_1024_tokens_unless_told_otherwise() -> None:
    assert build_memory("bank", WIDTH, 2).empty(1, GRID, tokens(0)).tokens.shape == (1, 1024, WIDTH)


def test_a_recurrent_memory_is_as_large_as_a_segment_and_holds_its_tokens_in_order() -> None:
    memory = build_memory("recurrent", WIDTH, 2)
    state = memory.empty(tiny.BATCH, GRID, tokens(0))
    assert state.tokens.shape == (tiny.BATCH, 8, WIDTH)
    long, short = tokens(1), tokens(2, count=4)
    state = memory.write(short, memory.write(long, state, CELLS), CELLS)
    unit = torch.cat([long[:, 4:], short], dim=1)
    torch.testing.assert_close(
        state.tokens, unit / unit.square().mean(dim=-1, keepdim=True).sqrt(), rtol=1e-4, atol=1e-5
    )


def unit(x: Tensor) -> Tensor:
    return x / x.square().mean(dim=-1, keepdim=True).sqrt()


def test_a_hierarchical_memory_holds_the_last_segment_and_a_frame_of_each_before_it() -> None:
    memory = build_memory("hierarchical", WIDTH, 2, 2)
    state = memory.empty(tiny.BATCH, GRID, tokens(0))
    assert state.tokens.shape == (tiny.BATCH, (2 + 2) * CELLS, WIDTH)
    for n in range(4):
        state = memory.write(tokens(n), state, CELLS)
        assert state.valid.sum(dim=1).tolist() == [(2 + min(n, 2)) * CELLS] * tiny.BATCH
    pooled = [unit(unit(tokens(n)).unflatten(1, (2, CELLS)).mean(dim=1)) for n in (1, 2)]
    expected = torch.cat([*pooled, unit(tokens(3))], dim=1)
    torch.testing.assert_close(state.tokens, expected, rtol=1e-4, atol=1e-5)


def test_a_hierarchical_memory_pools_a_shorter_segment_with_what_it_pushes_out() -> None:
    memory = build_memory("hierarchical", WIDTH, 2, 2)
    state = memory.write(tokens(1), memory.empty(tiny.BATCH, GRID, tokens(0)), CELLS)
    state = memory.write(tokens(2, count=CELLS), state, CELLS)
    kept = unit(torch.cat([tokens(1)[:, CELLS:], tokens(2, count=CELLS)], dim=1))
    torch.testing.assert_close(state.tokens[:, -2 * CELLS :], kept, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.tokens[:, CELLS : 2 * CELLS], unit(tokens(1)[:, :CELLS]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_without_places_is_one_in_which_nothing_was_written(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    empty, given = model.empty_memory(tiny.BATCH, tiny.SIDE, tiny.SIDE), tiny.segment()
    expected, found = (model(memory=memory, **given)[0] for memory in (empty, without_places(empty)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
