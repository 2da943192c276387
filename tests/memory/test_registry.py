"""Laws of the memory, held by every kind, and what each kind promises beyond them."""

from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tiny
from malt.memory.bank import BankConfig, BankMemory
from malt.memory.hierarchical import HierarchicalConfig
from malt.memory.none import NoConfig
from malt.memory.protocol import (
    Conditions,
    ContextMemory,
    ContextTokens,
    LayerMemory,
    Layout,
    ResidualMemory,
    SegmentRecord,
    nothing_written,
)
from malt.memory.registry import KINDS, MemoryKind, build_memory, memory_config
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
WIDTH, LAYOUT, CELLS = 16, Layout(2, 2, 2), 4
CONDITIONS = Conditions(LAYOUT, torch.zeros(tiny.BATCH, 1, 3), torch.ones(tiny.BATCH, 1, dtype=torch.bool))


def equal(ours: Memory, theirs: Memory) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))


def copied(memory: Memory) -> Memory:
    return tuple(State(state.tokens.clone(), state.valid.clone()) for state in memory)


def written(kind: str, num_segments: int = 1, seed: int = 10) -> Memory:
    return detach(tiny.remember(tiny.transformer(memory=kind), num_segments, first_seed=seed))


def tokens(seed: int, count: int = 8) -> Tensor:
    return torch.randn(tiny.BATCH, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def record(hidden: Tensor) -> SegmentRecord:
    """A segment without context."""
    return SegmentRecord(hidden, CONDITIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_never_exceeds_its_bound(kind: str) -> None:
    model = tiny.transformer(memory=kind, memory_size={"bank": 32, "context": 4}.get(kind))
    memory = model.empty_memory(tiny.BATCH, tiny.SIDE, tiny.SIDE)
    shapes, size = [state.tokens.shape for state in memory], num_bytes(memory)
    for n in range(10):
        memory = detach(tiny.remember(model, 1, n, memory))
        assert [state.tokens.shape for state in memory] == shapes
        assert num_bytes(memory) == size
    if kind not in ("multimodal", "places"):  # nothing was done, so no action is written, and one view is all there is
        assert all(state.valid.all() for state in memory)
    assert all(torch.isfinite(state.tokens).all() for state in memory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 3])
def test_a_segment_of_another_length_does_not_change_the_bound(kind: str, frames: int) -> None:
    model = tiny.transformer(memory=kind)
    memory = written(kind)
    renewed = model(memory=memory, **tiny.segment(frames=frames, level=0.0)).memory
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
    expected = model(memory=None, **tiny.segment(3, level=0.0)).memory
    kept = model(memory=memory, **tiny.segment(3, level=0.0)).memory
    renewed = model(memory=forgotten, **tiny.segment(3, level=0.0)).memory
    found = model(memory=renewed, **tiny.segment())[0]
    torch.testing.assert_close(found[0], model(memory=expected, **tiny.segment())[0][0])
    torch.testing.assert_close(found[1], model(memory=kept, **tiny.segment())[0][1])


@pytest.mark.parametrize(
    "kind", [kind for kind in REMEMBERING if kind not in ("state_space", "places")]
)  # rows of a matrix and poses are no tokens
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
        match="there is no memory called 'elephant'; choose one of recurrent, hierarchical, .*, none",
    ):
        build_memory("elephant", WIDTH, 2)
    with pytest.raises(ValueError, match="no memory called 'hierarchic', did you mean 'hierarchical'; choose one of"):
        build_memory("hierarchic", WIDTH, 2)


@pytest.mark.parametrize("kind", ["recurrent", "slots"])
def test_what_is_remembered_outlives_as_many_segments_as_there_are_layers(kind: str) -> None:
    """A gradient reaches the first of six segments through two layers."""
    model = tiny.transformer(memory=kind, num_layers=2)
    first = tiny.segment(0, level=0.0)
    first["latents"].requires_grad_()
    memory = model(memory=None, **first).memory
    velocity = model(memory=tiny.remember(model, 5, memory=memory), **tiny.segment()).velocity
    (gradient,) = torch.autograd.grad(velocity.square().sum(), first["latents"])
    assert gradient.abs().amax(dim=(2, 3, 4)).min() > 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_in_which_nothing_is_written_has_nothing_to_say(kind: str) -> None:
    memory = build_memory(kind, WIDTH, 2)
    tiny.randomised(cast(nn.Module, memory))
    hidden = tokens(0)
    state = memory.empty(tiny.BATCH, LAYOUT, hidden)
    if isinstance(memory, ResidualMemory):
        assert torch.equal(memory.read(hidden, state, CONDITIONS), hidden)
    elif isinstance(memory, ContextMemory):
        assert not memory.context(state, CONDITIONS).valid.any()
    else:
        assert kind == "none"


def test_an_untrained_bank_adds_nothing_to_the_hidden_state() -> None:
    bank, hidden = BankMemory(WIDTH, 2, BankConfig(size=4, per_segment=2)), tokens(0)
    state = bank.write(record(tokens(1)), bank.empty(tiny.BATCH, LAYOUT, hidden))
    assert torch.equal(bank.read(hidden, state, CONDITIONS), hidden)


def test_a_bank_is_first_in_first_out() -> None:
    bank = tiny.randomised(BankMemory(WIDTH, 2, BankConfig(size=6, per_segment=2)))
    state = bank.empty(tiny.BATCH, LAYOUT, tokens(0))
    entries: list[Tensor] = []
    for n in range(5):
        state = bank.write(record(tokens(n)), state)
        entries.append(bank.write(record(tokens(n)), bank.empty(tiny.BATCH, LAYOUT, tokens(0))).tokens[:, -2:])
        there = min(n + 1, 3)
        assert state.valid.sum(dim=1).tolist() == [2 * there] * tiny.BATCH
        assert torch.equal(state.tokens[:, -2 * there :], torch.cat(entries[-there:], dim=1))


def test_a_bank_whose_entries_have_all_been_pushed_out_knows_nothing_of_them() -> None:
    bank, hidden = tiny.randomised(BankMemory(WIDTH, 2, BankConfig(size=4, per_segment=2))), tokens(0)
    states = [bank.write(record(tokens(seed)), bank.empty(tiny.BATCH, LAYOUT, hidden)) for seed in (1, 2)]
    one, other = (bank.read(hidden, bank.write(record(tokens(3)), state), CONDITIONS) for state in states)
    assert not torch.allclose(one, other)
    one, other = (
        bank.read(hidden, bank.write(record(tokens(4)), bank.write(record(tokens(3)), state)), CONDITIONS)
        for state in states
    )
    assert torch.equal(one, other)


def test_a_bank_reads_by_softmax_attention_added_to_the_hidden_state() -> None:
    bank, hidden = tiny.randomised(BankMemory(WIDTH, 1, BankConfig(size=4, per_segment=2))), tokens(0)
    state = bank.write(record(tokens(1)), bank.empty(tiny.BATCH, LAYOUT, hidden))
    stored = torch.cat([bank.nothing.expand(tiny.BATCH, -1, -1), state.tokens[:, -2:]], dim=1)
    unit = hidden / hidden.square().mean(dim=-1, keepdim=True).sqrt()
    keys, values = bank.to_kv(stored).chunk(2, dim=-1)
    weights = torch.softmax(bank.to_q(unit) @ keys.transpose(1, 2) / WIDTH**0.5, dim=-1)
    torch.testing.assert_close(
        bank.read(hidden, state, CONDITIONS), hidden + bank.to_out(weights @ values), rtol=1e-4, atol=1e-5
    )


def test_a_bank_holds_1024_tokens_unless_told_otherwise() -> None:
    assert build_memory("bank", WIDTH, 2).empty(1, LAYOUT, tokens(0)).tokens.shape == (1, 1024, WIDTH)


def test_a_recurrent_memory_is_as_large_as_a_segment_and_holds_its_tokens_in_order() -> None:
    memory = build_memory("recurrent", WIDTH, 2)
    state = memory.empty(tiny.BATCH, LAYOUT, tokens(0))
    assert state.tokens.shape == (tiny.BATCH, 8, WIDTH)
    long, short = tokens(1), tokens(2, count=4)
    state = memory.write(record(short), memory.write(record(long), state))
    unit = torch.cat([long[:, 4:], short], dim=1)
    torch.testing.assert_close(
        state.tokens, unit / unit.square().mean(dim=-1, keepdim=True).sqrt(), rtol=1e-4, atol=1e-5
    )


def unit(x: Tensor) -> Tensor:
    return x / x.square().mean(dim=-1, keepdim=True).sqrt()


def test_a_hierarchical_memory_holds_the_last_segment_and_a_frame_of_each_before_it() -> None:
    memory = build_memory("hierarchical", WIDTH, 2, 2)
    state = memory.empty(tiny.BATCH, LAYOUT, tokens(0))
    assert state.tokens.shape == (tiny.BATCH, (2 + 2) * CELLS, WIDTH)
    for n in range(4):
        state = memory.write(record(tokens(n)), state)
        assert state.valid.sum(dim=1).tolist() == [(2 + min(n, 2)) * CELLS] * tiny.BATCH
    pooled = [unit(unit(tokens(n)).unflatten(1, (2, CELLS)).mean(dim=1)) for n in (1, 2)]
    expected = torch.cat([*pooled, unit(tokens(3))], dim=1)
    torch.testing.assert_close(state.tokens, expected, rtol=1e-4, atol=1e-5)


def test_a_hierarchical_memory_pools_a_shorter_segment_with_what_it_pushes_out() -> None:
    memory = build_memory("hierarchical", WIDTH, 2, 2)
    state = memory.write(record(tokens(1)), memory.empty(tiny.BATCH, LAYOUT, tokens(0)))
    state = memory.write(record(tokens(2, count=CELLS)), state)
    kept = unit(torch.cat([tokens(1)[:, CELLS:], tokens(2, count=CELLS)], dim=1))
    torch.testing.assert_close(state.tokens[:, -2 * CELLS :], kept, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.tokens[:, CELLS : 2 * CELLS], unit(tokens(1)[:, :CELLS]), rtol=1e-3, atol=1e-4)


def sunk(num_segments: int, sink: int = 2, num_pooled: int = 3) -> list[State]:
    """The states of a hierarchical memory after each of so many segments, all of them other ones."""
    memory = build_memory("hierarchical", WIDTH, 2, num_pooled, {"sink": sink})
    states = [memory.empty(tiny.BATCH, LAYOUT, tokens(0))]
    for n in range(num_segments):
        states.append(memory.write(record(tokens(n)), states[-1]))
    return states


def pooled(n: int) -> Tensor:
    """The frame that is kept of segment n."""
    return unit(unit(tokens(n)).unflatten(1, (2, CELLS)).mean(dim=1))


def test_the_first_segments_stay_in_the_sink_and_those_before_the_last_follow() -> None:
    for n, state in enumerate(sunk(12)):
        kept = [*range(min(n - 1, 2)), *range(max(2, n - 4), n - 1)]
        expected = torch.cat([*map(pooled, kept), *([unit(tokens(n - 1))] if n else [tokens(0)[:, :0]])], dim=1)
        assert state.valid.sum(dim=1).tolist() == [expected.shape[1]] * tiny.BATCH
        torch.testing.assert_close(state.tokens[:, 7 * CELLS - expected.shape[1] :], expected, rtol=1e-4, atol=1e-5)


def test_until_the_rolling_part_is_full_a_sink_changes_nothing() -> None:
    for with_one, without in zip(sunk(4), sunk(4, sink=0), strict=True):
        assert not with_one.valid[:, : 2 * CELLS].any()
        assert torch.equal(with_one.tokens[:, 2 * CELLS :], without.tokens)
        assert torch.equal(with_one.valid[:, 2 * CELLS :], without.valid)


def test_what_is_in_the_sink_stands_at_the_same_time_however_long_ago_it_was() -> None:
    memory = cast(ContextMemory, build_memory("hierarchical", WIDTH, 2, 3, {"sink": 2}))
    for state in (sunk(6)[-1], sunk(40)[-1]):
        found = memory.context(state, CONDITIONS)
        assert found.times is not None
        assert found.times == (-7, -6, -5, -4, -3, -2, -1)
        assert torch.equal(found.tokens[:, : 2 * CELLS], sunk(6)[-1].tokens[:, : 2 * CELLS])


def test_every_video_of_a_batch_fills_its_own_sink() -> None:
    memory = build_memory("hierarchical", WIDTH, 2, 3, {"sink": 2})
    (state,) = forget((sunk(9)[-1],), torch.tensor([True, False]))
    fresh = memory.empty(tiny.BATCH, LAYOUT, tokens(0))
    for n in range(9, 16):
        state, fresh = (memory.write(record(tokens(n)), each) for each in (state, fresh))
    expected = torch.stack([fresh.tokens[0], sunk(16)[-1].tokens[1]])
    assert torch.equal(state.tokens, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_without_places_is_one_in_which_nothing_was_written(kind: str) -> None:
    model = tiny.transformer(memory=kind)
    empty, given = model.empty_memory(tiny.BATCH, tiny.SIDE, tiny.SIDE), tiny.segment()
    expected, found = (model(memory=memory, **given)[0] for memory in (empty, without_places(empty)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_honours_the_protocol_and_reads_in_one_way_at_most(kind: str) -> None:
    memory = build_memory(kind, WIDTH, 2)
    assert isinstance(memory, LayerMemory)
    assert isinstance(memory, ContextMemory) + isinstance(memory, ResidualMemory) == (kind != "none")


@pytest.mark.parametrize(("kind", "size", "setting"), [("hierarchical", 8, "num_pooled"), ("slots", 3, "num_slots")])
def test_the_size_that_a_model_stores_is_a_setting_of_its_kind(kind: str, size: int, setting: str) -> None:
    assert memory_config(kind, size) == memory_config(kind, settings={setting: size})
    assert memory_config(kind, size) != memory_config(kind)
    assert memory_config(kind, size, {setting: 1}) == memory_config(kind, settings={setting: 1})


def test_a_hierarchical_memory_of_eight_is_what_a_model_of_memory_size_eight_has() -> None:
    assert memory_config("hierarchical", 8) == HierarchicalConfig(num_pooled=8)
    ours, theirs = (tiny.transformer(memory="hierarchical", **each) for each in SIZES_OF_EIGHT)
    memory = tiny.remember(ours, 2)
    assert torch.equal(ours(memory=memory, **tiny.segment())[0], theirs(memory=memory, **tiny.segment())[0])


SIZES_OF_EIGHT = ({"memory_size": 8}, {"memory_config": {"num_pooled": 8}})


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("hierarchical", {"num_pooled": -1}, "-1 pooled segments cannot be; give 0 or more"),
        ("hierarchical", {"sink": -1}, "a sink of -1 segments cannot be; give 0 or more"),
        ("hierarchical", {"sink": "two"}, "sink of a memory of the kind hierarchical is 'two'; give a whole number"),
        (
            "hierarchical",
            {"snk": 1},
            "has no setting 'snk', did you mean 'sink'; it takes num_pooled, sink, archive, threshold",
        ),
        ("slots", {"num_slots": 0}, "a memory of 0 slots cannot be; give at least 1"),
        ("bank", {"size": 0}, "a bank of 0 tokens, 16 a segment, cannot be; give at least 1"),
        ("bank", {"slots": 4}, "a memory of the kind bank has no setting 'slots'; it takes size, per_segment"),
    ],
)
def test_a_config_refuses_what_cannot_be_in_a_sentence(kind: str, settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        memory_config(kind, settings=settings)


class TitleMemory(nn.Module):
    """Remembers what a segment was called and what was done in it, and shows it only to what is called the same."""

    def __init__(self, width: int, num_heads: int, config: NoConfig) -> None:
        super().__init__()
        self.width = width

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        return nothing_written(2, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        same = (state.tokens[:, 0, 0] - conditions.caption.mean(dim=(1, 2))).abs() < 1e-6
        return ContextTokens(state.tokens, state.valid & same[:, None])

    def write(self, record: SegmentRecord, state: State) -> State:
        assert record.conditions.actions is not None
        title, done = record.conditions.caption.mean(dim=(1, 2)), record.conditions.actions.mean(dim=(1, 2))
        tokens = torch.stack([title, done], dim=1)[..., None].expand(-1, -1, self.width)
        return State(tokens.to(state.tokens), torch.ones_like(state.valid))


def test_a_new_kind_is_a_module_and_a_line_and_knows_captions_and_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "title", MemoryKind(NoConfig, TitleMemory))
    model = tiny.transformer(memory="title", action_dim=2, num_layers=1)
    actions, given = torch.ones(tiny.BATCH, tiny.FRAMES, 2), tiny.segment(level=0.0)
    memories = [model(memory=None, actions=each, **given).memory for each in (actions, 2 * actions)]
    one, other = (model(memory=memory, actions=actions, **given).velocity for memory in memories)
    assert not torch.allclose(one, other)
    renamed = given | {"encoder_hidden_states": given["encoder_hidden_states"] + 1.0}
    one, other = (model(memory=memory, actions=actions, **renamed).velocity for memory in memories)
    assert torch.equal(one, other)
