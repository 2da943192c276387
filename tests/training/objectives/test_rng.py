"""Laws of a batch that several processes share: together they learn what one would."""

from typing import Any

import pytest
import torch

from malt.errors import UsageError
from malt.memory.registry import KINDS
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.rng import Generators, StepRandom, check_shared
from tiny_examples import Examples, asked, captioned, task

ALL = {"num_segments": 3, "prob": 0.5, "memory_regularisation": 0.1, "caption_dropout": 0.5, "memory_dropout": 0.5}


def parts(world: int, **settings: Any) -> list[DenoisingObjective]:
    stage = Stage(until=9, objectives=(asked(**{"batch_size": 4, **ALL}),))
    model, examples = captioned(action_dim=2, **settings), Examples(action_dim=2)
    return [
        DenoisingObjective(model, examples, (stage,), 0, torch.float32, rank_and_size=(rank, world))
        for rank in range(world)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", [2, 4])
def test_the_mean_of_the_losses_of_the_parts_is_that_of_the_whole(kind: str, world: int) -> None:
    (whole,) = parts(1, memory=kind)
    for step in (0, 1):
        loss, figures = whole.loss(step)
        shares = [part.loss(step) for part in parts(world, memory=kind)]
        assert torch.stack([share for share, _ in shares]).mean().item() == pytest.approx(loss.item(), rel=1e-5)
        for name, value in figures.items():
            assert sum(found[name] for _, found in shares) / world == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_the_mean_of_the_gradients_of_the_parts_is_that_of_the_whole() -> None:
    def gradients(learners: list[DenoisingObjective]) -> dict[str, torch.Tensor]:
        for learner in learners:
            (learner.loss(0)[0] / len(learners)).backward()
        return {name: p.grad for name, p in learners[0].module.named_parameters() if p.grad is not None}

    whole, shared = gradients(parts(1)), gradients(parts(2))
    assert whole.keys() == shared.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_parts_differ_from_one_another() -> None:
    one, other = (part.loss(0)[0] for part in parts(2))
    assert not torch.isclose(one, other)


def test_what_is_drawn_apart_changes_nothing_of_what_is_drawn_else() -> None:
    one, other = (StepRandom(Generators.on(torch.device("cpu")).begin(0, 1), 2) for _ in range(2))
    apart = one.fork().uniform()
    assert torch.equal(apart, other.fork().uniform())
    assert torch.equal(one.uniform(), drawn := other.uniform())
    assert not torch.equal(apart, drawn)


@pytest.mark.parametrize(
    ("rank_and_size", "sentence"),
    [
        ((2, 2), "there is no rank 2 of 2; ranks are 0 to 1"),
        ((-1, 2), "there is no rank -1 of 2"),
        ((0, 2), "a batch of 3 videos cannot be shared equally by 2; give a multiple of 2"),
    ],
)
def test_a_rank_that_makes_no_sense_is_refused_in_a_sentence(rank_and_size: tuple[int, int], sentence: str) -> None:
    whole = task(batch_size=3)
    with pytest.raises(ValueError, match=sentence):
        DenoisingObjective(whole.module, whole.examples, whole.curriculum, 0, torch.float32, rank_and_size)


def test_that_a_batch_cannot_be_shared_is_for_a_person_to_put_right() -> None:
    with pytest.raises(UsageError, match="give a multiple of 2"):
        check_shared((0, 2), 3)
