"""Laws of the world `passage`."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from malt.worlds.passage.scenes import (
    COLOURS,
    FRAME_RATE,
    KINDS,
    LANES,
    SIZE,
    SIZES,
    SPEEDS,
    Scenes,
    distances,
    fully_visible,
    half_widths,
    hidden,
    positions,
    radii,
    render,
    sample_scenes,
)


def coverage(scenes: Scenes, start: int, num_frames: int) -> Tensor:
    """How much of every pixel a shape covers, from how much two renders differ that differ in colour alone."""
    red, blue = (render(_painted(scenes, colour), start, num_frames) for colour in ("red", "blue"))
    ends = torch.tensor([COLOURS["red"], COLOURS["blue"]])
    return torch.linalg.vector_norm(red - blue, dim=2) / (2 * torch.linalg.vector_norm(ends[0] - ends[1]))


def _painted(scenes: Scenes, colour: str) -> Scenes:
    return replace(scenes, colour=torch.full_like(scenes.colour, tuple(COLOURS).index(colour)))


def test_a_window_rendered_alone_equals_the_same_window_of_a_longer_render() -> None:
    scenes = sample_scenes(4, seed=0)
    assert torch.equal(render(scenes, 0, 40)[:, 25:33], render(scenes, 25, 8))


def test_the_same_scene_whatever_the_batch() -> None:
    many, alone = sample_scenes(5, seed=7), sample_scenes(1, seed=10)
    for name, value in vars(alone).items():
        assert torch.equal(getattr(many, name)[3:4], value)
    assert torch.equal(render(many, 12, 3)[3:4], render(alone, 12, 3))


def test_different_seeds_give_different_scenes() -> None:
    frames = render(sample_scenes(16, seed=0), 0, 1)[:, 0]
    assert len({frame.numpy().tobytes() for frame in frames}) == 16


def test_every_kind_colour_size_wall_and_place_occurs_about_as_often_as_any_other() -> None:
    scenes = sample_scenes(1000, seed=0)
    for values in (scenes.kind, scenes.colour, scenes.size, scenes.wall, scenes.place):
        share = torch.bincount(values.flatten()) / values.numel()
        assert (share * len(share) - 1).abs().max() < 0.25


def test_pictures_stay_within_the_range() -> None:
    frames = render(sample_scenes(32, seed=0), 0, 2)
    assert frames.shape == (32, 2, 3, SIZE, SIZE)
    assert frames.min() >= -1
    assert frames.max() <= 1


def test_every_shape_that_goes_out_of_sight_stays_so_for_at_least_four_frames() -> None:
    out_of_sight = hidden(sample_scenes(200, seed=0), 0, 640)
    assert out_of_sight.any(1).all()
    for track in out_of_sight.movedim(1, -1).flatten(0, 1):
        assert min(_lengths_of_spells(track)) >= 4


def test_between_two_sights_of_a_whole_shape_it_is_out_of_whole_sight_for_longer_than_a_second() -> None:
    not_whole = ~fully_visible(sample_scenes(200, seed=0), 0, 640, margin=0)
    for track in not_whole.movedim(1, -1).flatten(0, 1):
        assert max(_lengths_of_spells(track)) > FRAME_RATE


def _lengths_of_spells(track: Tensor) -> list[int]:
    """How long each spell of trues lasts that begins and ends within the track."""
    changes = torch.nonzero(track[1:] != track[:-1])[:, 0]
    return (changes[1:] - changes[:-1])[int(track[0]) :: 2].tolist()


def test_a_hidden_shape_leaves_no_trace() -> None:
    scenes = sample_scenes(64, seed=0)
    other = replace(scenes, kind=(scenes.kind + 1) % len(KINDS), colour=(scenes.colour + 1) % len(COLOURS))
    nothing_to_see = (hidden(scenes, 30, 1) & hidden(other, 30, 1)).all(2)[:, 0]
    assert nothing_to_see.sum() > 4
    assert torch.equal(render(scenes, 30, 1)[nothing_to_see], render(other, 30, 1)[nothing_to_see])


def test_a_film_begins_with_both_shapes_in_full_sight() -> None:
    assert fully_visible(sample_scenes(500, seed=0), 0, 1, margin=0.99).all()


def test_no_shape_is_hidden_and_fully_visible_at_once() -> None:
    scenes = sample_scenes(64, seed=0)
    assert not (hidden(scenes, 0, 200) & fully_visible(scenes, 0, 200, margin=0)).any()


def test_a_shape_leaves_the_picture_only_behind_a_wall() -> None:
    scenes = sample_scenes(200, seed=0)
    x, half = positions(scenes, 0, 200), half_widths(scenes)[:, None]
    outside = (x - half < 0) | (x + half > SIZE)
    at_edge = (scenes.wall_left < 0) | (scenes.wall_right > SIZE)
    assert not outside[~at_edge].any()
    assert not (outside & fully_visible(scenes, 0, 200, margin=-SIZE)).any()


def test_a_shape_travels_at_its_own_speed_even_after_a_million_frames() -> None:
    scenes = sample_scenes(64, seed=0)
    x = positions(scenes, 10**6, 30)
    steps = (x[:, 1:] - x[:, :-1]).abs()
    assert torch.allclose(steps.median(1).values, scenes.speed, atol=1e-3)
    assert (steps <= scenes.speed[:, None] + 1e-3).all()
    assert SPEEDS[0] <= scenes.speed.min()
    assert scenes.speed.max() <= SPEEDS[1]


def test_a_shape_keeps_to_its_lane() -> None:
    scenes = sample_scenes(200, seed=0)
    assert ((scenes.y - torch.tensor(LANES)).abs() <= 2).all()
    reach = 1.05 * 1.0 * radii(scenes)
    assert (scenes.y[:, 0] + reach[:, 0] < SIZE / 2).all()
    assert (scenes.y[:, 1] - reach[:, 1] > SIZE / 2).all()
    assert (scenes.y[:, 1] + reach[:, 1] < SIZE).all()


def test_a_fully_visible_shape_covers_as_many_pixels_as_it_is_large() -> None:
    scenes = sample_scenes(100, seed=0)
    axis = torch.arange(-1.5, 1.5, 0.005)
    unit_area = (distances(axis, axis[:, None], torch.ones(())) < 0).sum((1, 2)) * 0.005**2
    expected = unit_area[scenes.kind] * radii(scenes) ** 2
    lanes = coverage(scenes, 10, 1)[:, 0].unflatten(1, (2, SIZE // 2)).sum((2, 3))
    whole = fully_visible(scenes, 10, 1)[:, 0]
    assert whole.sum() > 20
    assert ((lanes / expected)[whole] - 1).abs().max() < 0.04


def test_shapes_of_one_size_look_about_equally_large_whatever_their_kind() -> None:
    axis = torch.arange(-1.5, 1.5, 0.005)
    unit_area = (distances(axis, axis[:, None], torch.ones(())) < 0).sum((1, 2)) * 0.005**2
    assert unit_area.max() / unit_area.min() < (min(SIZES.values()) / max(SIZES.values())) ** -2


def test_edges_are_smooth_so_a_tenth_of_a_pixel_of_travel_changes_no_pixel_by_more_than_a_tenth() -> None:
    scenes = sample_scenes(4, seed=0)
    slow = replace(scenes, speed=torch.full_like(scenes.speed, 0.1))
    covered = coverage(slow, 0, 40)
    assert covered.min() >= 0
    assert covered.max() <= 1 + 1e-4
    assert (covered[:, 1:] - covered[:, :-1]).abs().max() < 0.1 + 1e-3
    assert ((covered > 0.1) & (covered < 0.9)).any()


def test_a_slice_of_scenes_renders_as_that_slice_of_all() -> None:
    scenes = sample_scenes(6, seed=0)
    assert len(scenes[2:4]) == 2
    assert torch.equal(render(scenes[2:4], 5, 2), render(scenes, 5, 2)[2:4])


def test_everything_is_made_on_the_device_of_the_scenes() -> None:
    scenes = sample_scenes(2, seed=0).to("meta")
    made = (render(scenes, 0, 2), positions(scenes, 0, 2), hidden(scenes, 0, 2), fully_visible(scenes, 0, 2))
    assert {value.device.type for value in made} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_renders_what_a_processor_renders() -> None:
    scenes = sample_scenes(8, seed=0)
    assert torch.allclose(render(scenes.to("cuda"), 40, 4).cpu(), render(scenes, 40, 4), atol=1e-3)
