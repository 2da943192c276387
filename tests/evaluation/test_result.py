"""Laws of how runs are summed up."""

import json
import math

import pytest

from malt.evaluation.result import Curve, Figure, MetricResult, summarise


def figure(outcomes: list[MetricResult], name: str) -> Figure:
    return summarise(outcomes)["figures"][name]


def interval(found: Figure) -> tuple[float, float]:
    assert found["low"] is not None and found["high"] is not None
    return found["low"], found["high"]


def test_videos_of_all_seeds_are_pooled_and_the_interval_holds_their_mean() -> None:
    found = figure([MetricResult(samples={"a": [0.0, 1.0]}), MetricResult(samples={"a": [1.0, 1.0]})], "a")
    assert (found["mean"], found["n"], found["seeds"], found["over"]) == (0.75, 4, 2, "videos")
    low, high = interval(found)
    assert 0 <= low < 0.75 < high <= 1


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    values = [math.sin(n) for n in range(400)]
    found = figure([MetricResult(samples={"a": values})], "a")
    mean, (low, high) = found["mean"], interval(found)
    assert mean is not None
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 400)
    assert (high - low) / 2 == pytest.approx(1.96 * deviation / 20, rel=0.1)


def test_a_number_of_a_whole_set_has_students_interval_over_seeds() -> None:
    found = figure([MetricResult(whole={"d": 1.0}), MetricResult(whole={"d": 3.0})], "d")
    assert (found["mean"], found["n"], found["over"]) == (2.0, 2, "seeds")
    assert found["high"] == pytest.approx(2 + 12.7062, abs=1e-3)  # t of one degree of freedom; the standard error is 1


def test_a_single_seed_has_no_interval_over_seeds() -> None:
    found = figure([MetricResult(whole={"d": 1.0})], "d")
    assert (found["mean"], found["low"], found["high"]) == (1.0, None, None)


def test_ratios_are_of_means_and_their_interval_takes_pairs_together() -> None:
    run = MetricResult(samples={"up": [2.0, 4.0, 6.0], "down": [1.0, 2.0, 3.0]}, ratios={"r": (["up"], ["down"])})
    found = figure([run], "r")
    assert [found[key] for key in ("mean", "low", "high")] == pytest.approx([2.0, 2.0, 2.0])


def test_a_ratio_to_nothing_is_not_a_number() -> None:
    run = MetricResult(samples={"up": [1.0], "down": [0.0]}, ratios={"r": (["up"], ["down"])})
    assert figure([run], "r")["mean"] is None


def test_curves_are_joined_point_by_point() -> None:
    runs = [MetricResult(curves=[Curve(chart="c", line="l", x=[1.0, 2.0], samples=[[n], [3.0]])]) for n in (0.0, 1.0)]
    (curve,) = summarise(runs)["curves"]
    assert [(point["x"], point["mean"], point["n"]) for point in curve["points"]] == [(1.0, 0.5, 2), (2.0, 3.0, 2)]


def test_what_is_stored_comes_back() -> None:
    run = MetricResult(
        samples={"a": [1.0]},
        whole={"w": 2.0},
        ratios={"r": (["a"], ["a"])},
        curves=[Curve(chart="c", line="", x=[1.0], samples=[[2.0]], over="seeds")],
        notes=["n"],
    )
    assert MetricResult.from_dict(json.loads(json.dumps(run.as_dict()))) == run
