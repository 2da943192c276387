"""Laws of the recurrent state."""

import pytest
import torch
from torch import Tensor

import tiny
from malt.memory.protocol import Conditions, Layout, SegmentRecord
from malt.memory.registry import memory_config
from malt.memory.state import State
from malt.memory.state_space import StateSpaceConfig, StateSpaceMemory

WIDTH, HEADS, LAYOUT = 16, 2, Layout(2, 2, 2)
CONDITIONS = Conditions(LAYOUT, torch.zeros(tiny.BATCH, 1, 3), torch.ones(tiny.BATCH, 1, dtype=torch.bool))


def tokens(seed: int, count: int = 8, width: int = WIDTH) -> Tensor:
    return torch.randn(tiny.BATCH, count, width, generator=torch.Generator().manual_seed(seed))


def memory(chunk: int = 64, state_size: int = 5) -> StateSpaceMemory:
    return tiny.randomised(StateSpaceMemory(WIDTH, HEADS, StateSpaceConfig(state_size=state_size, chunk=chunk)))


def written(kind: StateSpaceMemory, *segments: Tensor) -> State:
    state = kind.empty(tiny.BATCH, LAYOUT, tokens(0))
    for hidden in segments:
        state = kind.write(SegmentRecord(hidden, CONDITIONS), state)
    return state


def test_many_tokens_at_once_are_what_the_rule_gives_one_by_one() -> None:
    keys = torch.nn.functional.normalize(tokens(1, 7, 5), dim=-1)
    values, share, fading = tokens(2, 7), tokens(3, 7, HEADS).sigmoid(), -tokens(4, 7, HEADS).exp()
    start = tokens(5, 5)
    expected = start.unflatten(-1, (HEADS, -1))
    for n in range(7):
        key, value = keys[:, n, :, None, None], values[:, n].unflatten(-1, (HEADS, -1))[:, None]
        a, b = (x[:, n, None, :, None] for x in (fading.exp(), share))
        expected = a * (expected - b * key * (key * expected).sum(dim=1, keepdim=True)) + b * key * value
    found = memory()._advance(start, keys, values, share, fading)
    torch.testing.assert_close(found, expected.flatten(-2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_how_many_tokens_are_written_at_a_time_does_not_matter(chunk: int) -> None:
    found, expected = (written(memory(each), tokens(1), tokens(2)).tokens for each in (chunk, 64))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_state_stays_bounded_however_long_the_video_is() -> None:
    state = written(memory(), *(tokens(seed) for seed in range(200)))
    assert torch.isfinite(state.tokens).all()
    assert state.tokens.square().mean().sqrt() < 3


def test_what_is_written_under_a_key_is_read_by_it_and_replaced_by_what_comes_under_it() -> None:
    kind, key = memory(), torch.nn.functional.normalize(tokens(1, 1, 5), dim=-1)
    all_of_it, nothing = torch.ones(tiny.BATCH, 1, HEADS), torch.zeros(tiny.BATCH, 1, HEADS)
    state = torch.zeros(tiny.BATCH, 5, WIDTH)
    for seed in (2, 3):
        state = kind._advance(state, key, tokens(seed, 1), all_of_it, nothing)
        torch.testing.assert_close(key @ state, tokens(seed, 1), rtol=1e-4, atol=1e-5)


def test_the_same_token_elsewhere_in_the_frame_is_another_key() -> None:
    hidden = tokens(1, 1).expand(-1, 4, -1)
    placed = memory()._placed(hidden, Layout(1, 2, 2))
    assert (placed[:, :1] - placed[:, 1:]).abs().amax(dim=(0, 2)).min() > 1e-2
    again = memory()._placed(torch.cat([hidden, hidden], dim=1), LAYOUT)
    assert torch.equal(again, torch.cat([placed, placed], dim=1))


def test_an_untrained_one_adds_nothing_to_the_hidden_state() -> None:
    kind = StateSpaceMemory(WIDTH, HEADS)
    assert torch.equal(kind.read(tokens(0), written(kind, tokens(1)), CONDITIONS), tokens(0))


@pytest.mark.parametrize("settings", [{"state_size": 0}, {"chunk": 0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"a state of \d+ rows, written \d+ tokens at a time, cannot be"):
        memory_config("state_space", settings=settings)
