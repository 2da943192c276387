"""Laws of long walks: what a step keeps does not grow with the segments, and what is left out is left out alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from malt.memory.registry import KINDS
from malt.memory.regularisation import memory_regularisation
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.unroll import unroll_memory
from tiny_examples import EXACT, NOTHING_LOST, Examples, Settings, captioned, chance, jolt, losses, task, window

SHORT: Settings = {"bptt_segments": 1, "denoise_segments": 2}


def bytes_kept(learner: DenoisingObjective) -> int:
    """Size of all that a step keeps for its gradients, in bytes."""
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.loss(0)
    return kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [{}, {"prob": 1.0}, {"memory_regularisation": 0.1}])
def test_a_step_keeps_as_much_for_16_segments_as_for_4(kind: str, extra: Settings) -> None:
    model = captioned(memory=kind)
    few, many = (bytes_kept(task(model=model, num_segments=n, **SHORT, **extra)) for n in (4, 16))
    assert 0 < few == many


def test_without_limits_a_step_keeps_more_for_more_segments() -> None:
    assert bytes_kept(task(num_segments=6)) > bytes_kept(task(num_segments=4))


def test_only_the_last_segments_are_denoised_and_figures_say_which() -> None:
    loss, figures = task(num_segments=5, denoise_segments=2).loss(0)
    assert list(figures) == ["segment_3", "segment_4"]
    assert loss.item() == pytest.approx(sum(figures.values()) / 2)


def test_where_there_are_fewer_segments_than_may_be_denoised_all_are() -> None:
    assert losses(task(num_segments=3, denoise_segments=9)) == losses(task(num_segments=3))


def test_a_segment_that_is_only_walked_has_influence_through_the_memory() -> None:
    last: Settings = {"num_segments": 3, "denoise_segments": 1, **NOTHING_LOST}
    assert losses(task(**last)) != losses(task(Examples(jolt(1)), **last))


def test_a_film_that_begins_before_the_denoised_segments_leaves_them_their_context() -> None:
    last: Settings = {"num_segments": 2, "denoise_segments": 1, **NOTHING_LOST}
    usual, changed = (losses(task(Examples(change, begins=True), **last)) for change in (None, jolt(2)))
    assert losses(task(Examples(begins=True), **last)) == losses(task(Examples(begins=False), **last))
    assert usual != changed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_learns_after_a_walk_without_gradients(dtype: torch.dtype) -> None:
    model = captioned(memory="slots")
    learner = task(model=model, num_segments=4, **SHORT, **NOTHING_LOST)
    learner.dtype = dtype
    learner.loss(0)[0].backward()
    unmoved = {name.rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert unmoved == {"initial"}  # the slots that the walk begins with


@pytest.mark.parametrize("normalize", [True, False])
def test_the_regularisation_is_that_of_the_written_memories(normalize: bool) -> None:
    learner = task(num_segments=2, memory_regularisation=0.5, normalize_memory=normalize, **NOTHING_LOST, **EXACT)
    loss, figures = learner.loss(0)
    model, batch = learner.module, learner.examples(0, 3, 4, 1, 0.0)
    seen = window(model, batch.latents)
    memory = model.transformer(batch.latents[:, 1:3], torch.zeros(3, 2), None, **seen.caption.arguments).memory
    assert figures["memory_regularisation"] == pytest.approx(memory_regularisation(memory, normalize).item(), rel=1e-4)
    errors = (figures["segment_0"] + figures["segment_1"]) / 2
    assert loss.item() == pytest.approx(errors + 0.5 * figures["memory_regularisation"], rel=1e-5)


def test_the_regularisation_alone_teaches_the_weights_that_write() -> None:
    model = captioned(memory="slots")
    objective = task(num_segments=3, memory_regularisation=1.0).objective(0)
    seen = window(model, Examples()(0, 3, 6, 1, 0.0).latents)
    walked = unroll_memory(model.transformer, seen, objective, chance())
    assert walked.regularisation is not None
    walked.regularisation.backward()
    learned = model.transformer.get_parameter("blocks.0.memory.to_update.weight").grad
    assert learned is not None and learned.any()


def test_without_regularisation_there_is_no_figure_of_it_and_nothing_else_changes() -> None:
    _, off = task(num_segments=2).loss(0)
    _, on = task(num_segments=2, memory_regularisation=0.5).loss(0)
    assert set(on) - set(off) == {"memory_regularisation"}
    assert {name: on[name] for name in off} == off


def test_where_nothing_is_written_nothing_is_regularised() -> None:
    assert task(num_segments=1, memory_regularisation=0.5).loss(0)[1].keys() == {"segment_0"}


def test_with_several_draws_a_segment_meets_as_many_noises_after_one_walk() -> None:
    model, walks, passes = captioned(memory="hierarchical"), list[int](), list[int]()

    def count(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        (walks if keywords.get("update_memory", True) else passes).append(len(arguments[0]))

    model.transformer.register_forward_pre_hook(count, with_kwargs=True)
    once, often = (task(model=model, num_segments=4, denoise_segments=2, num_noise_samples=n) for n in (1, 3))
    for learner in (once, often):
        assert list(learner.loss(0)[1]) == ["segment_2", "segment_3"]
    assert walks[:3] == walks[3:]
    assert passes == [6, 18]


def test_where_a_film_begins_no_draw_sees_the_context() -> None:
    first: Settings = {"num_segments": 1, "num_noise_samples": 2, **NOTHING_LOST}
    for begins in (True, False):
        usual, changed = (losses(task(Examples(change, begins), **first)) for change in (None, jolt(0)))
        assert (usual == changed) is begins
