"""Laws of the signs of drift."""

import pytest
import torch

from malt.evaluation.metrics.picture_signs import motion, sharpness
from malt.worlds.passage.drift_signs import track_motion, well_formed
from malt.worlds.passage.oracle import Seen, read_shapes
from malt.worlds.passage.scenes import render, sample_scenes


def seen(x: float, y: float = 17.0, colour: str = "red") -> Seen:
    return Seen("circle", colour, x, y, 6.5, 0.95)


def test_well_formed_shapes_are_counted_by_the_frame() -> None:
    assert well_formed([[seen(20)], [], [seen(20), seen(30, y=47.0)]]) == 1.0
    assert well_formed([]) == 0.0


def test_a_frozen_video_does_not_move() -> None:
    frames = render(sample_scenes(1, seed=0), 0, 1)[0]
    assert motion(frames.repeat(5, 1, 1, 1)) == 0.0
    assert motion(frames) == 0.0


def test_motion_is_the_mean_change_of_a_pixel() -> None:
    assert motion(torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8) * 0.25) == pytest.approx(0.25)


def test_track_motion_is_how_far_shapes_travel_in_a_frame() -> None:
    readings = [[seen(10), seen(50, y=47.0)], [seen(11), seen(49, y=47.0)], [], [seen(40)], [seen(42)]]
    assert track_motion(readings) == pytest.approx(4 / 3)
    assert track_motion([[seen(10)], []]) == 0.0


def test_a_shape_that_becomes_another_has_not_travelled() -> None:
    assert track_motion([[seen(10)], [seen(30, colour="blue")]]) == 0.0


def test_shapes_of_the_world_travel_at_their_speed() -> None:
    scenes = sample_scenes(1, seed=0)
    speed = track_motion(read_shapes(render(scenes, 0, 40)[0]))
    assert scenes.speed.min() - 0.05 <= speed <= scenes.speed.max() + 0.05


def test_a_blurred_video_is_less_sharp() -> None:
    frames = render(sample_scenes(1, seed=0), 0, 2)[0]
    softer = torch.nn.functional.avg_pool2d(frames, 3, stride=1, padding=1)[..., 1:-1, 1:-1]
    assert sharpness(softer) < 0.8 * sharpness(frames[..., 1:-1, 1:-1])
    assert sharpness(torch.zeros(2, 3, 8, 8)) == 0.0


def test_sharpness_is_the_slope_of_a_ramp() -> None:
    assert sharpness(torch.arange(8.0).expand(1, 3, 8, 8) * 0.1) == pytest.approx(0.1)
