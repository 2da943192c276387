"""Laws of the memory whose reading the prompt steers."""

import pytest
import torch
from torch import Tensor

import tiny
from malt.memory.protocol import Conditions, ContextTokens, Layout, SegmentRecord, SteeredMemory, unit_rms
from malt.memory.registry import build_memory, memory_config
from malt.memory.state import State, forget

WIDTH, LAYOUT, CELLS, CAPTION = 16, Layout(2, 2, 2), 4, 12
A, B, C = 1, 2, 3


def conditions(caption: int | tuple[int, int], actions: float | None = None, width: int = CAPTION) -> Conditions:
    """Under a caption, the videos' own where there are two: as from an encoder all of whose captions are much alike."""
    each = (caption,) * tiny.BATCH if isinstance(caption, int) else caption
    shared = torch.randn(1, 3, width, generator=torch.Generator().manual_seed(99))
    own = [torch.randn(3, width, generator=torch.Generator().manual_seed(n)) for n in each]
    done = None if actions is None else torch.full((tiny.BATCH, 2, 2), actions)
    return Conditions(LAYOUT, shared + 0.2 * torch.stack(own), torch.ones(tiny.BATCH, 3, dtype=torch.bool), done)


def scene(seed: int, jitter: int = 0) -> Tensor:
    """A segment of a scene that stands, a little noise aside."""
    frame = torch.randn(tiny.BATCH, 1, CELLS, WIDTH, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(tiny.BATCH, 2, CELLS, WIDTH, generator=torch.Generator().manual_seed(1000 + jitter))
    return (frame + 0.1 * noise).flatten(1, 2)


def memory(**settings: float) -> SteeredMemory:
    kind = build_memory("multimodal", WIDTH, 2, settings=settings)
    assert isinstance(kind, SteeredMemory)
    return kind


def film(kind: SteeredMemory, *parts: tuple[int, int], state: State | None = None) -> State:
    """The memory after so many segments of each scene under the caption of the same number."""
    state = kind.empty(tiny.BATCH, LAYOUT, scene(0)) if state is None else state
    for number, count in parts:
        for n in range(count):
            state = kind.write(SegmentRecord(scene(number, n), conditions(number)), state)
    return state


def likeness(found: ContextTokens, number: int) -> Tensor:
    """How near the nearest frame that is read, but for the last segment's, comes to a scene, place by place."""
    tokens = torch.where(found.valid[..., None], found.tokens, 0.0).unflatten(1, (-1, CELLS))[:, :-2]
    frame = unit_rms(scene(number).unflatten(1, (2, CELLS)).mean(dim=1, keepdim=True))
    return torch.nn.functional.cosine_similarity(tokens, frame, dim=-1).amax(dim=1)


@pytest.mark.parametrize("width", [CAPTION, 16, 40])
def test_after_a_then_b_then_a_the_scene_of_the_first_is_read_and_that_of_b_is_not(width: int) -> None:
    kind = memory()
    state = film(kind, (A, 5), (B, 30))
    under_a, under_b = (kind.context(state, conditions(number)) for number in (A, B))
    assert likeness(under_a, A).min() > 0.98
    assert likeness(under_a, B).max() < 0.9
    assert likeness(under_b, B).min() > 0.98
    assert likeness(under_b, A).max() < 0.9


def test_the_last_segment_is_read_whatever_the_prompt_is() -> None:
    kind = memory()
    state = film(kind, (A, 3), (B, 3))
    for number in (A, B, C):
        found = kind.context(state, conditions(number))
        torch.testing.assert_close(found.tokens[:, -2 * CELLS :], unit_rms(scene(B, 2)))
        assert found.valid[:, -2 * CELLS :].all()


def test_the_last_entries_roll_on_at_times_of_their_own_and_the_others_are_at_one() -> None:
    kind, under = memory(num_entries=4, num_recent=2), conditions(A)
    state = kind.empty(tiny.BATCH, LAYOUT, scene(0))
    for number in (10, 11, 11, 11, 12):  # what resembles what came before it is among the last all the same
        state = kind.write(SegmentRecord(scene(number), under), state)
    found = kind.context(state, under)
    pooled = [unit_rms(unit_rms(scene(n)).unflatten(1, (2, CELLS)).mean(dim=1)) for n in (10, 11, 11, 11)]
    assert found.times is not None
    assert found.times == (-5, -5, -4, -3, -2, -1)
    for place, frame in enumerate(pooled):
        torch.testing.assert_close(found.tokens[:, place * CELLS :][:, :CELLS], frame, rtol=1e-4, atol=1e-5)


def test_every_video_of_a_batch_reads_what_its_own_prompt_calls_for() -> None:
    kind = memory()
    found = kind.context(film(kind, (A, 4), (B, 4)), conditions((A, B)))
    assert likeness(found, A)[0].min() > 0.98 > 0.9 > likeness(found, B)[0].max()
    assert likeness(found, B)[1].min() > 0.98 > 0.9 > likeness(found, A)[1].max()


def test_a_scene_that_does_not_change_takes_one_entry_beside_the_last_ones_however_long_it_lasts() -> None:
    kind = memory(num_entries=8, num_recent=2)
    valid = film(kind, (A, 40)).valid
    assert torch.equal(valid, film(kind, (A, 5)).valid)
    assert valid.unflatten(1, (-1, CELLS))[:, -10:].all(dim=2).sum(dim=1).tolist() == [1 + 2 + 2] * tiny.BATCH


def test_the_same_scene_under_other_actions_is_another_entry() -> None:
    kind = memory(num_recent=0)
    still, moved = (film(kind, (A, 0)) for _ in range(2))
    for n in range(4):
        still = kind.write(SegmentRecord(scene(A, n), conditions(A, 0.0)), still)
        moved = kind.write(SegmentRecord(scene(A, n), conditions(A, 9.0 * (n % 2))), moved)
    assert moved.valid.sum() > still.valid.sum()


def test_where_there_is_no_caption_all_may_be_read() -> None:
    kind = memory()
    state, given = film(kind, (A, 3), (B, 3)), conditions(C)
    found = kind.context(state, given._replace(caption_mask=torch.zeros_like(given.caption_mask)))
    assert likeness(found, A).min() > 0.98
    assert likeness(found, B).min() > 0.98


def test_a_forgotten_memory_has_nothing_to_read_and_begins_anew() -> None:
    kind = memory()
    (state,) = forget((film(kind, (A, 5)),), torch.tensor([True, False]))
    assert not kind.context(state, conditions(A)).valid[0].any()
    state, fresh = film(kind, (B, 4), state=state), film(kind, (B, 4))
    one, other = (kind.context(each, conditions(B)) for each in (state, fresh))
    assert torch.equal(one.valid[0], other.valid[0])
    torch.testing.assert_close(one.tokens[0][one.valid[0]], other.tokens[0][other.valid[0]])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_entries": 2, "num_recent": 2}, "num_recent is 2 of num_entries 2; give 0 or more, and fewer than all"),
        ({"num_recent": -1}, "num_recent is -1 of num_entries 8; give 0 or more"),
        ({"threshold": 3.0}, "a similarity threshold of 3.0 cannot be"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        memory_config("multimodal", settings=settings)
