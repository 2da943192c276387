"""Laws of guidance, with a denoiser whose velocities are one for each of the four conditions it can be in."""

import itertools

import pytest
import torch
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guidance
from malt.memory.state import Memory, State

BATCH = 2
CAPTIONED, UNCAPTIONED = 1.0, 0.0
WEIGHTS = [0.0, 0.5, 2.0, 7.5]
# what a denoiser says that sees (caption, memory): numbers with which no wrong sum is right by chance
SAID = {(False, False): 1.0, (False, True): 10.0, (True, False): 100.0, (True, True): 1000.0}

Asked = list[tuple[bool, bool]]


class Denoiser:
    """Says for every video of a batch what `SAID` has for its conditions, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: Asked = []

    def __call__(self, latents: Tensor, level: Tensor, memory: Memory, caption: Caption) -> Tensor:
        captioned, remembers = (caption.states[:, 0, 0] == CAPTIONED).tolist(), memory[0].valid.any(dim=1).tolist()
        self.asked += zip(captioned, remembers, strict=True)
        said = torch.tensor([SAID[c, m] for c, m in zip(captioned, remembers, strict=True)])
        return said[:, None, None, None, None] + latents + level[:, :, None, None, None]


@pytest.fixture
def memory() -> Memory:
    return (State(torch.randn(BATCH, 3, 4), torch.ones(BATCH, 3, dtype=torch.bool)),) * 2


def captions(value: float) -> Caption:
    return Caption(torch.full((BATCH, 5, 4), value), torch.ones(BATCH, 5, dtype=torch.bool))


def guided(memory: Memory, text: float, memory_weight: float) -> tuple[float, Asked]:
    """The constant part of the guided velocity, and the conditions of the passes for the first video."""
    denoiser = Denoiser()
    prepared = Guidance(text=text, memory=memory_weight).prepare(memory, captions(CAPTIONED), captions(UNCAPTIONED))
    latents, level = torch.randn(BATCH, 1, 3, 2, 2), torch.rand(BATCH, 1)
    velocity = prepared.velocity(denoiser, latents, level) - latents - level[:, :, None, None, None]
    torch.testing.assert_close(velocity, velocity[:1, :1, :1, :1, :1].expand_as(velocity), rtol=1e-3, atol=1e-3)
    return velocity.mean().item(), denoiser.asked[::BATCH]


def test_weights_of_one_cost_no_pass(memory: Memory) -> None:
    velocity, asked = guided(memory, 1.0, 1.0)
    assert asked == [(True, True)]
    assert velocity == pytest.approx(SAID[True, True])


@pytest.mark.parametrize("weight", WEIGHTS)
def test_text_guidance_goes_from_what_the_memory_says_to_what_both_say(memory: Memory, weight: float) -> None:
    velocity, asked = guided(memory, weight, 1.0)
    assert sorted(asked) == [(False, True), (True, True)]
    v_memory, v_text = SAID[False, True], SAID[True, True]
    assert velocity == pytest.approx(v_memory + weight * (v_text - v_memory), rel=1e-5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_memory_guidance_alone_keeps_the_caption_and_goes_away_from_no_memory(memory: Memory, weight: float) -> None:
    velocity, asked = guided(memory, 1.0, weight)
    assert sorted(asked) == [(True, False), (True, True)]
    v_empty, v_memory = SAID[True, False], SAID[True, True]
    assert velocity == pytest.approx(v_empty + weight * (v_memory - v_empty), rel=1e-5)


@pytest.mark.parametrize(("text", "memory_weight"), list(itertools.product(WEIGHTS, WEIGHTS)))
def test_both_guidances_add_up(memory: Memory, text: float, memory_weight: float) -> None:
    velocity, asked = guided(memory, text, memory_weight)
    assert sorted(asked) == [(False, False), (False, True), (True, True)]
    v_empty, v_memory, v_text = SAID[False, False], SAID[False, True], SAID[True, True]
    expected = v_empty + memory_weight * (v_memory - v_empty) + text * (v_text - v_memory)
    assert velocity == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("guidance", [Guidance(text=3.0), Guidance(memory=3.0), Guidance(text=3.0, memory=2.0)])
def test_guiding_leaves_the_memory_as_it_was(memory: Memory, guidance: Guidance) -> None:
    before = [(state.tokens.clone(), state.valid.clone()) for state in memory]
    guidance.prepare(memory, captions(CAPTIONED), captions(UNCAPTIONED))
    assert all(
        torch.equal(a, b) for state, pair in zip(memory, before, strict=True) for a, b in zip(state, pair, strict=True)
    )


def test_all_passes_are_one_batch(memory: Memory) -> None:
    sizes = []

    def noting(latents: Tensor, *conditions: object) -> Tensor:
        sizes.append(len(latents))
        return latents

    prepared = Guidance(text=3.0, memory=2.0).prepare(memory, captions(CAPTIONED), captions(UNCAPTIONED))
    prepared.velocity(noting, torch.zeros(BATCH, 1, 3, 2, 2), torch.zeros(BATCH, 1))
    assert sizes == [3 * BATCH]
