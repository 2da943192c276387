"""Laws of drift: nothing that looks well by standing still or by being soft wins."""

from functools import cache

import pytest
import torch

from malt.errors import UsageError
from malt.evaluation.metrics.drift import WORLD, Drift
from malt.evaluation.metrics.picture_signs import histogram_distance
from malt.evaluation.result import MetricResult, summarise
from malt.worlds.passage.drift_signs import moving_shapes
from malt.worlds.passage.oracle import Seen
from malt.worlds.passage.scenes import render, sample_scenes
from world_evaluated_models import PASSAGE, Make, WorldModel, blurred, frozen, of_asked_scenes, spoilt

MAKERS: dict[str, Make] = {"true": of_asked_scenes, "frozen": spoilt(frozen), "blurred": spoilt(blurred)}


@cache
def outcome(name: str) -> MetricResult:
    return Drift(world=PASSAGE, num_videos=3, num_frames=192, reference_clips=64).run(
        WorldModel(make=MAKERS[name]), seed=0
    )


def mean(name: str, figure: str) -> float:
    value = summarise([outcome(name)])["figures"][figure]["mean"]
    assert value is not None
    return value


def test_true_videos_do_not_drift() -> None:
    for sign in ("well-formed shapes", "moving shapes", "sharpness", "motion"):
        assert mean("true", f"{sign} kept") == pytest.approx(1)
    distances = outcome("true").whole
    floor = next(c for c in outcome("true").curves if c.chart == "Frechet of windows" and c.line == WORLD)
    assert distances["Frechet of windows, last"] == pytest.approx(floor.samples[-1][0])


def test_a_video_that_freezes_keeps_its_shapes_but_no_motion() -> None:
    assert mean("frozen", "well-formed shapes, last") > 0
    assert mean("frozen", "moving shapes kept") == 0
    assert mean("frozen", "motion kept") == 0


def test_a_video_that_blurs_keeps_no_shapes_and_less_sharpness() -> None:
    assert mean("blurred", "well-formed shapes kept") < 0.2
    assert mean("blurred", "sharpness kept") < 0.6
    assert outcome("blurred").whole["Frechet of windows, last"] > outcome("blurred").whole["Frechet of windows, first"]


def test_stretches_reach_from_the_first_frame_to_the_last() -> None:
    spans = Drift(world=PASSAGE, num_frames=1024).spans
    assert (spans[0], spans[-1], len(spans)) == ((0, 64), (960, 1024), 8)
    assert Drift(world=PASSAGE, num_frames=128).spans == [(0, 64), (64, 128)]


def test_a_video_too_short_to_drift_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 128"):
        Drift(world=PASSAGE, num_frames=100)


def test_a_shape_moves_when_it_is_the_same_and_elsewhere() -> None:
    def seen(x: float, colour: str = "red") -> Seen:
        return Seen("circle", colour, x, 17.0, 6.5, 0.95)

    assert moving_shapes([[seen(10)], [seen(11)], [seen(11)], [seen(12, "blue")], [seen(40, "blue")]]) == 0.25
    assert moving_shapes([[seen(10)]]) == 0


def test_colours_that_are_the_same_have_no_distance_and_colours_apart_have_one() -> None:
    frames = render(sample_scenes(1, seed=0), 0, 4)[0]
    assert histogram_distance(frames, frames) == 0
    assert histogram_distance(torch.ones(1, 3, 4, 4), -torch.ones(2, 3, 4, 4)) == 1
