"""Laws of memories that keep what is new: `adaptive`, and the archive of `hierarchical`."""

import pytest
import torch
from torch import Tensor

import tiny
from malt.memory.protocol import Conditions, ContextMemory, LayerMemory, Layout, SegmentRecord, unit_rms
from malt.memory.registry import build_memory, memory_config
from malt.memory.state import State, used

WIDTH, LAYOUT, CELLS = 16, Layout(2, 2, 2), 4
CONDITIONS = Conditions(LAYOUT, torch.zeros(tiny.BATCH, 1, 3), torch.ones(tiny.BATCH, 1, dtype=torch.bool))
SEGMENTS_OF_2000_FRAMES = 125
KEEPING = [("adaptive", {"cap": 3}), ("hierarchical", {"num_pooled": 2, "archive": 3})]


def scene(seed: int, jitter: int = 0) -> Tensor:
    """A segment of a scene that stands, a little noise aside."""
    frame = torch.randn(tiny.BATCH, 1, CELLS, WIDTH, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(tiny.BATCH, 2, CELLS, WIDTH, generator=torch.Generator().manual_seed(1000 + jitter))
    return (frame + 0.1 * noise).flatten(1, 2)


def build(kind: str, settings: dict[str, int]) -> tuple[LayerMemory, State]:
    memory = build_memory(kind, WIDTH, 2, settings=settings)
    return memory, memory.empty(tiny.BATCH, LAYOUT, scene(0))


def write(memory: LayerMemory, state: State, *segments: Tensor) -> State:
    for hidden in segments:
        state = memory.write(SegmentRecord(hidden, CONDITIONS), state)
    return state


def likeness(state: State, seed: int) -> Tensor:
    """How near the nearest of what is remembered comes to a scene, place by place."""
    stored = torch.where(state.valid[..., None], state.tokens, 0.0).unflatten(1, (-1, CELLS))
    frame = unit_rms(scene(seed).unflatten(1, (2, CELLS)).mean(dim=1, keepdim=True))
    return torch.nn.functional.cosine_similarity(stored, frame, dim=-1).amax(dim=1)


@pytest.mark.parametrize(("kind", "settings"), KEEPING)
def test_what_was_seen_2000_frames_ago_is_still_there_if_it_was_new_then(kind: str, settings: dict[str, int]) -> None:
    memory, state = build(kind, settings)
    state = write(memory, state, scene(1), *(scene(2, n) for n in range(SEGMENTS_OF_2000_FRAMES)))
    assert likeness(state, 1).min() > 0.98
    assert likeness(state, 3).max() < 0.9
    rolling, state = build("hierarchical", {"num_pooled": 5})
    state = write(rolling, state, scene(1), *(scene(2, n) for n in range(SEGMENTS_OF_2000_FRAMES)))
    assert likeness(state, 1).max() < 0.9


@pytest.mark.parametrize(("kind", "settings"), KEEPING)
def test_a_scene_that_does_not_change_takes_no_more_places_however_long_it_lasts(
    kind: str, settings: dict[str, int]
) -> None:
    memory, state = build(kind, settings)
    state = write(memory, state, *(scene(1, n) for n in range(6)))
    taken = used(state)
    state = write(memory, state, *(scene(1, n) for n in range(6, 60)))
    assert torch.equal(used(state), taken)
    assert used(write(memory, state, *(scene(seed) for seed in range(2, 8)))).min() > taken.max()


@pytest.mark.parametrize(("kind", "settings"), KEEPING)
def test_what_is_kept_is_read_at_one_time_however_old_it_is(kind: str, settings: dict[str, int]) -> None:
    memory, state = build(kind, settings)
    assert isinstance(memory, ContextMemory)
    times = memory.context(state, CONDITIONS).times
    assert times is not None
    count = len(times) - 3
    assert times == (-count - 1,) * 3 + tuple(range(-count, 0))


def test_an_adaptive_memory_takes_as_many_places_as_the_content_needs() -> None:
    memory, empty = build("adaptive", {"cap": 6, "floor": 2})
    still, changing = (
        used(write(memory, empty, *(scene(seed, n) for n, seed in enumerate(seeds))))
        for seeds in ([1] * 9, range(1, 10))
    )
    assert still.tolist() == [(2 + 2) * CELLS] * tiny.BATCH
    assert changing.tolist() == [(6 + 2) * CELLS] * tiny.BATCH


def test_videos_of_a_batch_take_what_each_needs() -> None:
    memory, state = build("adaptive", {"cap": 4})
    for n in range(6):
        still, changing = scene(1, n), scene(n + 1, n)
        state = write(memory, state, torch.cat([still[:1], changing[1:]]))
    assert used(state).tolist() == [(1 + 2) * CELLS, (4 + 2) * CELLS]


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("adaptive", {"cap": 0}, "give a cap of at least 1, not below the floor"),
        ("adaptive", {"cap": 2, "floor": 3}, "floor is 3 and cap 2; give a cap"),
        ("adaptive", {"threshold": 2.0}, "a similarity threshold of 2.0 cannot be"),
        ("adaptive", {"merge": -1}, "merge is -1; give a share"),
        ("hierarchical", {"archive": -1}, "an archive of -1 frames cannot be; give 0 or more"),
        ("hierarchical", {"threshold": -2}, "a similarity threshold of -2 cannot be"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind: str, settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        memory_config(kind, settings=settings)
