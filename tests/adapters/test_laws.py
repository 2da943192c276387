"""Laws that hold for every family of pretrained bases, on tiny models of diffusers' own classes."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from malt.adapters import AdaptedTransformer3DModel, remove_memory
from malt.adapters.memory_pass import Blocks
from malt.memory import registry
from malt.memory.state import Memory, in_half, num_bytes
from tiny_bases import BATCH, FRAMES, SIDE, TINY_BASES, TinyBase, remember, run

PRECISIONS = (torch.float32, torch.bfloat16)
KINDS: dict[str, dict[str, Any]] = {
    "recurrent": {"memory": "recurrent"},
    "hierarchical": {"memory": "hierarchical", "memory_size": 2, "every": 2},
    "adaptive": {"memory": "adaptive", "memory_size": 2},
    "hierarchical, halved": {"memory": "hierarchical", "memory_size": 2, "memory_config": {"pooled_side": 2}},
    "context": {"memory": "context", "memory_size": 2},
    "multimodal": {"memory": "multimodal", "memory_config": {"num_entries": 2, "num_recent": 1}},
    "state_space": {"memory": "state_space", "memory_size": 4, "memory_width": 8},
    "slots": {"memory": "slots", "memory_size": 4, "memory_width": 8},
    "bank": {"memory": "bank", "memory_size": 32, "memory_width": 8},
    "hierarchical, behind": {"memory": "hierarchical", "memory_size": 2, "memory_width": 16, "read": "behind"},
    "slots, behind": {"memory": "slots", "memory_size": 4, "memory_width": 8, "read": "behind"},
}
EVERYWHERE = (
    "hierarchical, halved",
    "bank",
    "slots, behind",
)  # the ways to read, for every family; the other kinds for one
CASES = [(tiny, kind) for kind in KINDS for tiny in TINY_BASES if tiny == "wan" or kind in EVERYWHERE]
each_kind = pytest.mark.parametrize(("tiny", "kind"), CASES, indirect=["tiny"])


def remembering(tiny: TinyBase, kind: str, base: Any = None, **settings: Any) -> AdaptedTransformer3DModel:
    """A model with a memory of this kind whose weights are all at work."""
    model = tiny.adapted(base, **KINDS[kind] | settings)
    torch.manual_seed(3)
    for parameter in model.adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(params=TINY_BASES)
def tiny(request: pytest.FixtureRequest) -> TinyBase:
    return TINY_BASES[request.param]


beside = pytest.mark.parametrize("tiny", [name for name, tiny in TINY_BASES.items() if tiny.beside], indirect=True)


def test_the_laws_are_tried_on_every_kind_of_memory() -> None:
    unfit = {"none", "places"}  # a base does not move, and is refused a memory of places
    assert {settings["memory"] for settings in KINDS.values()} >= registry.KINDS.keys() - unfit


def levels_of(tiny: TinyBase) -> list[float | None]:
    """A noise level for all frames, and, where the family has it, one for each."""
    return [0.6, None] if tiny.adapted().family.levels_per_frame else [0.6]


@each_kind
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@torch.no_grad()
def test_an_empty_memory_is_the_base_bit_for_bit(tiny: TinyBase, dtype: torch.dtype, kind: str) -> None:
    base = tiny.base().to(dtype)
    alone = copy.deepcopy(base)
    model = remembering(tiny, kind, base)
    for level in levels_of(tiny):
        given = tiny.given(level=level)
        for memory in (None, model.empty_memory(BATCH, SIDE, SIDE)):
            assert torch.equal(run(model, given, memory).velocity, tiny.alone(alone, given))


@torch.no_grad()
def test_a_base_goes_on_to_work_by_itself(tiny: TinyBase) -> None:
    base = tiny.base()
    alone, given = copy.deepcopy(base), tiny.given()
    names = list(base.state_dict())
    tiny.adapted(base)
    assert torch.equal(tiny.alone(base, given), tiny.alone(alone, given))
    assert list(base.state_dict()) == names


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("lora_rank", [0, 2])
@torch.no_grad()
def test_a_base_is_itself_again_when_its_adapter_is_taken_off(
    tiny: TinyBase, dtype: torch.dtype, lora_rank: int
) -> None:
    base = tiny.base().to(dtype)
    alone, given = copy.deepcopy(base), tiny.given()
    learned = [name for name, parameter in base.named_parameters() if parameter.requires_grad]
    model = tiny.adapted(base, lora_rank=lora_rank)
    remember(tiny, model)
    assert remove_memory(model) is base
    assert torch.equal(tiny.alone(base, given), tiny.alone(alone, given))
    assert [name for name, parameter in base.named_parameters() if parameter.requires_grad] == learned
    assert not any(isinstance(module, Blocks) for module in base.modules())
    assert {type(module.processor) for module in base.modules() if hasattr(module, "processor")} == {
        type(module.processor) for module in alone.modules() if hasattr(module, "processor")
    }


@each_kind
@torch.no_grad()
def test_what_is_remembered_changes_what_is_made(tiny: TinyBase, kind: str) -> None:
    model, given = remembering(tiny, kind), tiny.given()
    memory, another = remember(tiny, model), remember(tiny, model, first=20)
    made = [run(model, given, m).velocity for m in (None, memory, another)]
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[1], made[2])


@torch.no_grad()
def test_each_video_of_a_batch_has_its_own_memory(tiny: TinyBase) -> None:
    model, given = remembering(tiny, "hierarchical, halved"), tiny.given()
    memory = remember(tiny, model)
    both = run(model, given, memory).velocity
    swapped = tuple(type(state)(state.tokens.flip(0), state.valid.flip(0)) for state in memory)
    assert not torch.allclose(run(model, given, swapped).velocity, both, atol=1e-3)
    half_known = tuple(type(s)(s.tokens, s.valid & torch.tensor([[True], [False]])) for s in memory)
    mixed = run(model, given, half_known).velocity
    assert torch.allclose(mixed[0], both[0], atol=1e-5)
    assert torch.allclose(mixed[1], run(model, given).velocity[1], atol=1e-5)


@each_kind
@torch.no_grad()
def test_later_steps_of_a_segment_may_use_the_keys_of_the_first(tiny: TinyBase, kind: str) -> None:
    model, given = remembering(tiny, kind), tiny.given()
    memory = remember(tiny, model)
    first = run(model, given, memory, update_memory=False)
    again = run(model, given, first.memory, cache=first.cache, update_memory=False)
    assert torch.equal(again.velocity, first.velocity)
    assert all(a is b for a, b in zip(first.memory, memory, strict=True))


@each_kind
def test_gradients_with_checkpointing_are_those_without(tiny: TinyBase, kind: str) -> None:
    model = remembering(tiny, kind, context_frames=int(levels_of(tiny)[-1] is None))
    plain = gradients(tiny, model)
    model.enable_gradient_checkpointing()
    checkpointed = gradients(tiny, model)
    elsewhere = gradients(tiny, model, in_another_thread=True)
    assert plain.keys() == checkpointed.keys() == elsewhere.keys()
    assert any(gradient.any() for gradient in plain.values())
    for name, gradient in plain.items():
        assert torch.equal(gradient, checkpointed[name]) and torch.equal(gradient, elsewhere[name]), name


def gradients(tiny: TinyBase, model: AdaptedTransformer3DModel, in_another_thread: bool = False) -> dict[str, Tensor]:
    """Of a loss over three segments, each behind the memory of those before, and the context that the model takes."""
    model.zero_grad()
    memory: Memory | None = None
    losses = []
    for n in range(3):
        segment = tiny.given(n, level=None if model.family.levels_per_frame else 0.6)
        count = model.context_frames
        if count:
            segment["timestep"][:, :count] = 0.0
        made = run(model, segment, memory, num_context_frames=count, update_memory=False)
        losses.append(made.velocity.square().mean())
        memory = run(model, tiny.given(n, level=0.0), memory).memory
    loss = torch.stack(losses).sum()
    backward: Callable[..., Any] = loss.backward
    thread = threading.Thread(target=backward)
    thread.start() if in_another_thread else backward()
    if in_another_thread:
        thread.join()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def test_two_sessions_in_two_threads_on_one_base_do_not_meet(tiny: TinyBase) -> None:
    model, given = remembering(tiny, "hierarchical, halved"), tiny.given(batch=1)
    memories = [remember(tiny, model, first=10 * n, batch=1) for n in (1, 2)]
    alone = [run(model, given, memory).velocity for memory in memories]
    wrong = list[int]()

    def use(n: int) -> None:
        torch.set_num_threads(1)
        with torch.no_grad():
            wrong.extend(n for _ in range(10) if not torch.equal(run(model, given, memories[n]).velocity, alone[n]))

    threads = [threading.Thread(target=use, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@beside
@torch.no_grad()
def test_the_frames_right_before_a_segment_stand_right_before_it(tiny: TinyBase) -> None:
    model = tiny.adapted()
    layout, side = model._layout(FRAMES, SIDE, SIDE, 0), SIDE // model.patch_size[0]
    places, count = torch.arange(side), FRAMES * side**2
    tables = model.family.tables(model.base, layout, torch.arange(-FRAMES, FRAMES), places, places)
    for table, own in zip(tables, own_tables(tiny, model), strict=True):
        assert torch.allclose(table.flatten(0, -2)[count:], own.flatten(0, -2)[-count:], atol=1e-5)
    later = model.family.tables(model.base, layout, torch.arange(FRAMES), places, places)
    assert torch.allclose(distances(tables, count), distances(later, count), atol=1e-4)


def own_tables(tiny: TinyBase, model: AdaptedTransformer3DModel) -> tuple[Tensor, Tensor]:
    """The rotary tables that the base itself hands its first block, for one video."""
    seen: list[Any] = []
    block = getattr(model.base, model.family.lists[0])[0]
    watch = block.register_forward_pre_hook(
        lambda module, given, named: seen.extend(x for x in (*given, *named.values()) if isinstance(x, tuple)),
        with_kwargs=True,
    )
    run(model, tiny.given(batch=1))
    watch.remove()
    cos, sin = seen[0]
    return cos, sin


def distances(tables: tuple[Tensor, Tensor], count: int) -> Tensor:
    """Cosines of the angles between the first token and each of the first ones: all that attention sees of positions."""
    cos, sin = (table.flatten(0, -2) for table in tables)
    return cos[:1] * cos[:count] + sin[:1] * sin[:count]


@beside
@torch.no_grad()
def test_remembered_tokens_are_shown_as_the_base_shows_its_own_without_noise(tiny: TinyBase) -> None:
    model, seen = tiny.adapted(), []
    name = next(iter(model.family.processors(model.base)))
    keys = model.base.get_submodule(name).to_k
    hook = keys.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    entering = []
    block = getattr(model.base, model.family.lists[0])[0]
    watch = block.register_forward_pre_hook(
        lambda module, given, named: entering.append(given[0] if given else named["hidden_states"]), with_kwargs=True
    )
    run(model, tiny.given(level=0.0))
    hook.remove(), watch.remove()
    shown = model.adapter.each[0].modulated(model.family.norm(entering[0]))
    assert torch.allclose(seen[0][:, -shown.shape[1] :], shown, atol=1e-5)


@each_kind
@torch.no_grad()
def test_the_size_of_a_memory_is_told_before_it_begins_and_stays(tiny: TinyBase, kind: str) -> None:
    model = remembering(tiny, kind)
    told = model.memory_bytes(BATCH, SIDE, SIDE)
    assert told == num_bytes(in_half(model.empty_memory(BATCH, SIDE, SIDE))) > 0
    for segments in (1, 3):
        assert num_bytes(in_half(remember(tiny, model, segments))) == told


@pytest.mark.parametrize("kind", ["bank", "slots, behind"])
@torch.no_grad()
def test_an_untrained_memory_behind_the_blocks_changes_nothing(tiny: TinyBase, kind: str) -> None:
    model, given = tiny.adapted(**KINDS[kind]), tiny.given()
    assert torch.equal(run(model, given, remember(tiny, model)).velocity, run(model, given).velocity)
