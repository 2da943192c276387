"""Laws of the named experiments."""

import inspect
import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
import torch

from malt.models.transformer import MaltTransformer3DModel
from malt.recipes import RECIPES, Experiment, default, tiny, without_memory
from malt.training.optimizer import Optimization
from malt.training.run import build_captioned
from malt.training.transformer import Objective, Stage


def stages(*ends: int) -> tuple[Stage, ...]:
    return tuple(Stage(until=end, objectives=(Objective(),)) for end in ends)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_an_experiment_that_json_can_keep(name: str) -> None:
    experiment = RECIPES[name]()
    assert isinstance(experiment, Experiment)
    assert RECIPES[name]() == experiment
    assert json.loads(json.dumps(asdict(experiment)))["seed"] == 0


@pytest.mark.parametrize("field", ["seed", "curriculum", "transformer"])
def test_an_experiment_is_frozen(field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(tiny(), field, None)


def test_the_ablation_differs_in_nothing_but_its_memory() -> None:
    full, ablation = default(), RECIPES["none"]()
    assert ablation.transformer["memory"] == "none"
    assert replace(ablation, transformer=full.transformer) == full
    assert {**full.transformer, "memory": "none"} == ablation.transformer


def test_the_ablation_has_the_same_network_beside_its_memory() -> None:
    models = [build_captioned(experiment).transformer for experiment in (tiny(), without_memory(tiny()))]
    sizes = [{name: p.shape for name, p in model.named_parameters() if ".memory." not in name} for model in models]
    assert sizes[0] == sizes[1]


def test_the_same_seed_begins_with_the_same_weights_and_another_with_others() -> None:
    one, same, other = (build_captioned(replace(tiny(), seed=seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    for part in ("transformer.patch_embed.weight", "text_encoder.shared.weight"):
        assert not torch.equal(one[part], other[part])


@pytest.mark.parametrize("name", RECIPES)
def test_the_longest_lesson_fits_into_the_films_of_the_bank(name: str) -> None:
    experiment = RECIPES[name]()
    arguments = inspect.signature(MaltTransformer3DModel).parameters
    segment, context = (
        experiment.transformer.get(argument, arguments[argument].default)
        for argument in ("segment_frames", "context_frames")
    )
    longest = max(objective.num_segments for stage in experiment.curriculum for objective in stage.objectives)
    assert 4 * (longest * segment + context) <= experiment.bank_frames


@pytest.mark.parametrize(
    ("ends", "num_steps", "sentence"),
    [
        ((2, 4), 5, "the curriculum ends at step 4 and the optimization at 5; make them equal"),
        ((4, 2), 2, r"the stages of the curriculum end at steps \[4, 2\]; give at least one, each later than the last"),
        ((2, 2), 2, r"end at steps \[2, 2\]"),
        ((), 2, r"end at steps \[\]; give at least one"),
    ],
)
def test_an_experiment_that_makes_no_sense_is_refused_in_a_sentence(
    ends: tuple[int, ...], num_steps: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Experiment(curriculum=stages(*ends), optimization=Optimization(num_steps=num_steps))
