"""Laws of the oracle: it reads what is there, and says nothing of what is not."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from malt.media.pixels import to_pixels
from malt.worlds.passage.oracle import Seen, lane, read_shapes
from malt.worlds.passage.scenes import (
    COLOURS,
    KINDS,
    SIZE,
    SIZES,
    Scenes,
    fully_visible,
    positions,
    radii,
    render,
    sample_scenes,
)

NUM_SCENES, FRAMES = 36, (0, 37, 74, 111, 148)


@cache
def world() -> tuple[Scenes, Tensor]:
    scenes = sample_scenes(NUM_SCENES, seed=500)
    return scenes, torch.cat([render(scenes, frame, 1) for frame in FRAMES], dim=1)


def visible(margin: float) -> Tensor:
    scenes, _ = world()
    return torch.cat([fully_visible(scenes, frame, 1, margin) for frame in FRAMES], dim=1)


def flat() -> Tensor:
    return world()[1].flatten(0, 1)


def truth() -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Kind and colour in both lanes of every frame."""
    scenes, colours = world()[0], tuple(COLOURS)
    things = [
        [(KINDS[int(scenes.kind[n, i])], colours[int(scenes.colour[n, i])]) for i in (0, 1)] for n in range(NUM_SCENES)
    ]
    pairs = [(upper, lower) for upper, lower in things]
    return [pair for pair in pairs for _ in FRAMES]


def blurred(frames: Tensor, sigma: float) -> Tensor:
    reach = round(4 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(frames, (reach,) * 4, mode="replicate")
    rows = F.conv2d(rearrange(padded, "t c h w -> (t c) 1 h w"), kernel[None, None, None])
    return rearrange(F.conv2d(rows, kernel[None, None, :, None]), "(t c) 1 h w -> t c h w", c=3)


def noisy(frames: Tensor) -> Tensor:
    return frames + 0.06 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))


def tinted(frames: Tensor) -> Tensor:
    return frames + 0.1 * torch.tensor([1.0, -1.0, 1.0])[:, None, None]


def as_bytes(frames: Tensor) -> Tensor:
    return torch.from_numpy(to_pixels(frames))


def shuffled(frames: Tensor) -> Tensor:
    patches = rearrange(frames, "t c (h p) (w q) -> t (h w) c p q", p=8, q=8)
    order = torch.rand(patches.shape[:2], generator=torch.Generator().manual_seed(0)).argsort(1)
    mixed = patches[torch.arange(len(patches))[:, None], order]
    return rearrange(mixed, "t (h w) c p q -> t c (h p) (w q)", h=8)


MILD: dict[str, Callable[[Tensor], Tensor]] = {
    "as rendered": lambda frames: frames,
    "a little blurred": lambda frames: blurred(frames, 0.7),
    "noisy": noisy,
    "eight bits": as_bytes,
    "tinted": tinted,
    "twice as large": lambda frames: F.interpolate(frames, scale_factor=2, mode="bilinear"),
    "all at once": lambda frames: as_bytes(noisy(tinted(blurred(frames, 0.7)))),
}


@cache
def readings_after(change: str) -> list[list[Seen]]:
    return read_shapes(MILD[change](flat()))


@pytest.mark.parametrize("change", MILD)
def test_it_reads_kind_and_colour_of_every_fully_visible_shape(change: str) -> None:
    readings, wanted = readings_after(change), truth()
    outcomes = []
    for frame, which_lane in visible(margin=2).flatten(0, 1).nonzero().tolist():
        read = [(seen.kind, seen.colour) for seen in readings[frame] if lane(seen) == which_lane]
        outcomes.append(read == [wanted[frame][which_lane]])
    assert len(outcomes) >= 90  # or a single miss would be more than a hundredth
    assert sum(outcomes) >= 0.99 * len(outcomes)


@pytest.mark.parametrize("change", MILD)
def test_it_reads_nothing_wrong_and_nothing_that_is_cut_off(change: str) -> None:
    wanted, nearly_whole = truth(), visible(margin=-1.5).flatten(0, 1)
    for frame, reading in enumerate(readings_after(change)):
        for seen in reading:
            assert (seen.kind, seen.colour) == wanted[frame][lane(seen)]
            assert nearly_whole[frame, lane(seen)]


def test_it_reads_every_kind_in_every_colour_and_size_where_it_is() -> None:
    scenes = sample_scenes(1, seed=0)[torch.zeros(len(KINDS) * len(COLOURS) * len(SIZES), dtype=torch.long)]
    numbers = torch.cartesian_prod(*map(torch.arange, (len(KINDS), len(COLOURS), len(SIZES))))
    kind, colour, size = (values[:, None].expand(-1, 2) for values in numbers.unbind(1))
    aside = torch.full_like(scenes.wall_left, float(SIZE))  # the wall out of the way
    scenes = replace(scenes, kind=kind, colour=colour, size=size, wall_left=aside, wall_right=aside)
    x, radius = positions(scenes, 50, 1)[:, 0], radii(scenes)
    for n, reading in enumerate(read_shapes(render(scenes, 50, 1)[:, 0])):
        assert len(reading) == 2
        for seen in reading:
            assert (seen.kind, seen.colour) == (KINDS[int(kind[n, 0])], tuple(COLOURS)[int(colour[n, 0])])
            assert seen.x == pytest.approx(float(x[n, lane(seen)]), abs=0.5)
            assert seen.y == pytest.approx(float(scenes.y[n, lane(seen)]), abs=0.5)
            assert seen.radius == pytest.approx(float(radius[n, 0]), abs=0.3)


@pytest.mark.parametrize("spoil", [lambda frames: blurred(frames, 3.0), shuffled], ids=["blurred", "shuffled"])
def test_it_sees_no_well_formed_shapes_in_what_is_spoiled(spoil: Callable[[Tensor], Tensor]) -> None:
    assert sum(map(len, read_shapes(spoil(flat())))) == 0


def test_it_sees_nothing_in_noise_and_in_empty_pictures() -> None:
    noise = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fields = torch.tensor(list(COLOURS.values()))[:, :, None, None].expand(-1, -1, SIZE, SIZE) * 2 - 1
    assert sum(map(len, read_shapes(torch.cat([noise, fields])))) == 0


def test_each_frame_is_read_on_its_own() -> None:
    frames = flat()[:100]
    assert read_shapes(frames)[60:70] == read_shapes(frames[60:70])


def test_arrays_and_tensors_read_alike() -> None:
    pixels = to_pixels(flat()[:12])
    assert isinstance(pixels, np.ndarray)
    assert read_shapes(pixels) == read_shapes(torch.from_numpy(pixels))


def test_a_video_without_frames_has_no_readings() -> None:
    assert read_shapes(torch.zeros(0, 3, SIZE, SIZE)) == []


def test_frames_laid_out_the_wrong_way_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="give uint8"):
        read_shapes(torch.zeros(2, SIZE, SIZE, 3))


def test_the_lane_is_told_by_height() -> None:
    above, below = (Seen("circle", "red", 20.0, y, 6.5, 0.95) for y in (17.0, 47.0))
    assert (lane(above), lane(below)) == (0, 1)
