"""Laws of occlusions, and of what recall measures at them."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from malt.evaluation.evaluated_model import MemoryUse, Request
from malt.evaluation.metrics.recall import Recall
from malt.evaluation.reference import first_seed
from malt.evaluation.result import summarise
from malt.worlds.base import Occlusion
from malt.worlds.passage.long_scenes import LONG_SPANS, long_scenes_of
from malt.worlds.passage.occlusions import CONTEXT, GIVEN, HORIZON, SPANS, runs
from malt.worlds.passage.passage_world import Passage, PassageOracle
from malt.worlds.passage.scenes import COLOURS, KINDS, SIZE, fully_visible, hidden, render, sample_scenes
from malt.worlds.registry import oracle_of
from world_evaluated_models import PASSAGE, WorldModel

PER_BIN = 2


@cache
def found() -> dict[str, list[Occlusion]]:
    return oracle_of(PASSAGE, "a test").occlusions(PER_BIN, first_seed(0))


def every() -> list[Occlusion]:
    return [occlusion for in_bin in found().values() for occlusion in in_bin]


def test_runs_are_unbroken_stretches_of_true() -> None:
    assert runs(torch.tensor([True, True, False, False, True])) == [(0, 2), (4, 5)]
    assert runs(torch.tensor([False])) == []


def test_every_span_of_hidden_frames_has_its_occlusions() -> None:
    for each in SPANS:
        assert len(found()[each.name]) == PER_BIN
        assert all(each.first <= occlusion.hidden_frames <= each.last for occlusion in found()[each.name])


def test_a_shape_is_seen_then_hidden_where_the_given_frames_end_then_seen_again() -> None:
    for occlusion in every():
        scenes, end = sample_scenes(1, occlusion.seed), GIVEN
        away = hidden(scenes, occlusion.start, GIVEN + HORIZON)[0, :, occlusion.place]
        clear = fully_visible(scenes, occlusion.start, GIVEN + HORIZON)[0, :, occlusion.place]
        assert away[end - CONTEXT : end].all()
        assert clear[:end].sum() >= 4
        assert clear[end:].sum() >= 8
        assert occlusion.thing["kind"] == KINDS[int(scenes.kind[0, occlusion.place])]


def continued(request: Request, memory: MemoryUse) -> Tensor:
    """What truly follows; with an emptied memory in other colours, with another's memory in that one's shapes."""
    films = []
    for n, occlusion in enumerate(every()):
        scenes = sample_scenes(1, occlusion.seed)
        if memory == "emptied":
            scenes = replace(scenes, colour=(scenes.colour + 1) % len(COLOURS))
        if memory == "swapped":
            other = sample_scenes(1, every()[(n + 1) % len(every())].seed)
            scenes = replace(scenes, kind=other.kind, colour=other.colour)
        films.append(render(scenes, occlusion.start + GIVEN, HORIZON))
    assert request.first is not None
    return torch.cat(films)


@pytest.fixture
def model() -> WorldModel:
    return WorldModel(make=lambda request, num_frames, memory: continued(request, memory), has_memory=True)


def test_who_remembers_is_right_and_who_is_robbed_of_the_memory_is_not(model: WorldModel) -> None:
    outcome = Recall(world=PASSAGE, per_bin=PER_BIN).run(model, seed=0)
    figures = summarise([outcome])["figures"]
    means = {name: figure["mean"] or 0.0 for name, figure in figures.items()}
    assert means["same, memory as it is"] == 1
    assert figures["same after 64-127 hidden frames"]["n"] == PER_BIN
    assert means["same, memory emptied"] == 0
    assert means["same kind, memory emptied"] == 1
    assert means["same, another's memory"] <= 0.25
    assert means["came out, another's memory"] > 0.5
    lines = {curve.line: [sum(values) for values in curve.samples] for curve in outcome.curves}
    assert lines["memory as it is"] == [PER_BIN] * len(SPANS)


def test_of_what_is_hidden_for_longer_more_is_given_and_it_is_asked_for_together() -> None:
    oracle = PassageOracle(draw=long_scenes_of, spans=LONG_SPANS[:2])
    world = Passage(name="long", draw=long_scenes_of, oracle=oracle)
    found = [each for in_span in oracle.occlusions(2, first_seed(0)).values() for each in in_span]
    asked: list[int] = []

    def truth(request: Request, num_frames: int, memory: MemoryUse) -> Tensor:
        assert request.first is not None
        asked.append(request.first.shape[1])
        alike = [each for each in found if each.given_frames == asked[-1]]
        return torch.cat(
            [world.render([each.seed], each.start + each.given_frames, num_frames).frames for each in alike]
        )

    curve = Recall(world=world, per_bin=2).run(WorldModel(make=truth), seed=0).curves[0]
    assert curve.samples == [[1, 1], [1, 1]]
    assert asked == [GIVEN, 512 + GIVEN]


def test_a_shape_that_never_comes_out_is_forgotten() -> None:
    nothing = WorldModel(make=lambda request, num, memory: torch.zeros(len(request.captions), num, 3, SIZE, SIZE))
    samples = Recall(world=PASSAGE, per_bin=PER_BIN).run(nothing, seed=0).samples
    assert set(samples["same, memory as it is"]) == {0.0}
    assert "same, memory emptied" not in samples  # it has no memory to be emptied
