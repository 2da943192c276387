"""Laws of what counts as new and what is kept of it."""

import pytest
import torch
from torch import Tensor

from malt.memory.novelty import Novelty, keep_new, keep_new_frame
from malt.memory.protocol import unit_rms
from malt.memory.state import State, places, select

LISTS, ENTRIES, WIDTH = 3, 4, 32
NOVELTY = Novelty(threshold=0.9)


def tokens(seed: int, count: int = 1) -> State:
    """Tokens of unit size that resemble no others."""
    drawn = torch.randn(LISTS, count, WIDTH, generator=torch.Generator().manual_seed(seed))
    return State(unit_rms(drawn), torch.ones(LISTS, count, dtype=torch.bool))


def like(one: State, seed: int, share: float = 0.02) -> State:
    """What resembles a token: a little of another is in it."""
    return State(unit_rms(torch.lerp(one.tokens, tokens(seed).tokens, share)), one.valid)


def unwritten() -> State:
    return State(torch.zeros(LISTS, ENTRIES, WIDTH), torch.zeros(LISTS, ENTRIES, dtype=torch.bool))


def after(*news: State, novelty: Novelty = NOVELTY) -> State:
    entries = unwritten()
    for new in news:
        entries = keep_new(entries, new, novelty)
    return entries


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one, other, dim=-1)


def test_what_is_new_takes_a_place_behind_those_before_it() -> None:
    found = after(*(tokens(seed) for seed in range(3)))
    assert found.valid.sum(dim=1).tolist() == [3] * LISTS
    assert torch.equal(found.tokens[:, 1:], torch.cat([tokens(seed).tokens for seed in range(3)], dim=1))


def test_what_resembles_an_entry_takes_no_place_and_the_first_impression_stays() -> None:
    once = after(tokens(0), tokens(1))
    again = after(tokens(0), tokens(1), *(like(tokens(seed % 2), 9 + seed) for seed in range(20)))
    assert torch.equal(again.valid, once.valid)
    assert torch.equal(again.tokens, once.tokens)


def test_an_entry_moves_as_far_as_it_is_told_towards_what_resembles_it() -> None:
    near = like(tokens(1), 9)
    found = after(tokens(0), tokens(1), near, novelty=Novelty(merge=0.25))
    torch.testing.assert_close(found.tokens[:, 3:], unit_rms(torch.lerp(tokens(1).tokens, near.tokens, 0.25)))
    assert torch.equal(found.tokens[:, 2:3], tokens(0).tokens)


def test_where_all_places_are_taken_the_newer_of_the_two_most_alike_goes() -> None:
    akin = State(unit_rms(tokens(1).tokens + 0.8 * tokens(9).tokens), tokens(1).valid)  # about 0.78: new, but redundant
    found = after(tokens(0), tokens(1), akin, tokens(2), tokens(3))
    assert torch.equal(found.tokens, torch.cat([tokens(seed).tokens for seed in (0, 1, 2, 3)], dim=1))


def test_what_is_new_but_the_most_redundant_of_all_does_not_stay() -> None:
    full = after(*(tokens(seed) for seed in range(4)))
    akin = State(unit_rms(tokens(1).tokens + 0.8 * tokens(9).tokens), tokens(1).valid)
    assert torch.equal(keep_new(full, akin, NOVELTY).tokens, full.tokens)


def test_below_the_floor_everything_takes_a_place() -> None:
    found = after(*[tokens(0)] * 5, novelty=Novelty(floor=3))
    assert found.valid.sum(dim=1).tolist() == [3] * LISTS


def test_what_does_not_count_changes_nothing() -> None:
    once = after(tokens(0), tokens(1))
    found = keep_new(once, tokens(2)._replace(valid=torch.zeros(LISTS, 1, dtype=torch.bool)), Novelty(merge=0.5))
    assert torch.equal(found.tokens, once.tokens)
    assert torch.equal(found.valid, once.valid)


def test_every_list_decides_for_itself_as_it_would_alone() -> None:
    mixed = State(torch.cat([tokens(0).tokens[:1], tokens(7).tokens[1:]]), tokens(0).valid)
    before = after(tokens(0), tokens(1))
    whole = keep_new(before, mixed, NOVELTY)
    assert whole.valid.sum(dim=1).tolist() == [2, 3, 3]
    for n in range(LISTS):
        (entries,), (new,) = (select((each,), slice(n, n + 1)) for each in (before, mixed))
        alone = keep_new(entries, new, NOVELTY)
        assert torch.equal(alone.tokens[0], whole.tokens[n])


def test_what_is_kept_carries_its_gradient_and_what_goes_does_not() -> None:
    first, gone = (tokens(0).tokens.requires_grad_() for _ in range(2))
    found = after(State(first, tokens(0).valid), State(gone, tokens(0).valid))
    found.tokens.square().sum().backward()
    assert first.grad is not None
    assert first.grad.any()
    assert gone.grad is None or not gone.grad.any()


def test_the_places_of_a_frame_are_lists_of_their_own() -> None:
    one, other = tokens(0, 2), tokens(1, 2)
    half = State(torch.cat([one.tokens[:, :1], other.tokens[:, 1:]], dim=1), one.valid)
    frames = places(unwritten(), slice(4))  # two entries of two places
    for frame in (one, half):
        frames = keep_new_frame(frames, frame, NOVELTY)
    assert frames.valid[0].tolist() == [False, True, True, True]
    assert torch.equal(frames.tokens[:, 2], one.tokens[:, 0])
    assert torch.equal(frames.tokens[:, 1], one.tokens[:, 1])
    assert torch.equal(frames.tokens[:, 3], other.tokens[:, 1])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"threshold": 1.5}, "a similarity threshold of 1.5 cannot be; give a number from -1 to 1"),
        ({"merge": 2.0}, "merge is 2.0; give a share from 0"),
        ({"floor": -1}, "floor is -1; give 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Novelty(**settings)  # type: ignore[arg-type]
