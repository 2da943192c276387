"""Laws of identity: what a film loses is lost, and no bad film wins, by standing still, trembling, or showing nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from malt.evaluation.evaluated_model import stream_spans
from malt.evaluation.metrics import identity
from malt.evaluation.metrics.identity import KEPT, IdentityByLength, block_at
from malt.evaluation.reference import captions_of
from malt.rollouts.base import Segment
from malt.worlds.passage.inventory import take_inventory
from malt.worlds.passage.scenes import COLOURS, KINDS, PLACES, WALLS, Scenes, render, sample_scenes
from malt.worlds.registry import open_world, oracle_of
from world_evaluated_models import PASSAGE

HALF = 64  # frames of each half of a film
SCENE = sample_scenes(1, seed=3)


def later(scenes: Scenes) -> Tensor:
    """The second half of a film; it need not go on where the first ends, for identity is no matter of place."""
    return render(scenes, 0, HALF)[0]


def other(values: Tensor, num: int, which: slice | int = slice(None)) -> Tensor:
    """The values with the next of `num` in some places."""
    changed = values.clone()
    changed[..., which] = (changed[..., which] + 1) % num
    return changed


def swapped_lanes() -> Tensor:
    return later(replace(SCENE, kind=SCENE.kind.flip(1), colour=SCENE.colour.flip(1)))


def trembling() -> Tensor:
    """Its first frame, moved by a pixel to and fro."""
    still = later(SCENE)[:1].expand(HALF, -1, -1, -1)
    return torch.stack([frame.roll(n % 2, dims=-1) for n, frame in enumerate(still)])


def half_a_wall() -> Tensor:
    """The lower half of the wall is of another material."""
    mixed = later(SCENE).clone()
    mixed[..., 32:, :] = later(replace(SCENE, wall=other(SCENE.wall, len(WALLS))))[..., 32:, :]
    return mixed


# what the second half shows -> shapes, scenery and scenery's pixels that are kept
FILMS: dict[str, tuple[Callable[[], Tensor], float, float, float]] = {
    "true": (lambda: later(SCENE), 1, 1, 1),
    "a colour changes": (lambda: later(replace(SCENE, colour=other(SCENE.colour, len(COLOURS), 0))), 0.5, 1, 1),
    "a kind changes": (lambda: later(replace(SCENE, kind=other(SCENE.kind, len(KINDS), 1))), 0.5, 1, 1),
    "the wall is swapped": (lambda: later(replace(SCENE, wall=other(SCENE.wall, len(WALLS)))), 1, 0.5, 0.55),
    "half the wall is swapped": (half_a_wall, 1, 1, 0.75),
    "the background is swapped": (lambda: later(replace(SCENE, place=other(SCENE.place, len(PLACES)))), 1, 0.5, 0.45),
    "shapes swap lanes": (swapped_lanes, 0, 1, 1),
    "frozen": (lambda: later(SCENE)[:1].expand(HALF, -1, -1, -1), 0, 0, 0),
    "frozen and noisy": (lambda: later(SCENE)[:1] + 0.03 * torch.randn(HALF, 3, 64, 64), 0, 0, 0),
    "trembling": (trembling, 0, 0, 0),
    "blank": (lambda: torch.zeros(HALF, 3, 64, 64), 0, 0, 0),
    "no shapes": (lambda: later(replace(SCENE, y=SCENE.y + 1000)), 0, 0, 0),
}


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "BLOCK", HALF)
    monkeypatch.setattr(identity, "LENGTHS", (HALF // 2,))


def shown(film: Tensor) -> IdentityByLength:
    """What is found of a film that comes in segments."""
    found = IdentityByLength(oracle_of(PASSAGE, "a test"), len(film))
    parts = enumerate(film[None].split(16, dim=1))
    segments = (Segment(n, 16 * n, frames, torch.zeros(1, 1, 1, 1, 1)) for n, frames in parts)
    for span, videos in stream_spans(segments, found.spans):
        found.look(span, videos)
    return found


@pytest.mark.parametrize("name", FILMS)
def test_what_a_film_keeps_of_its_first_half(name: str) -> None:
    make, shapes, scenery, pixels = FILMS[name]
    found = shown(torch.cat([render(SCENE, 0, HALF)[0], make()]))
    assert found.shares("shapes kept") == [[1], [shapes]]
    assert found.shares("scenery kept") == [[1], [scenery]]
    assert found.shares("identity kept")[-1] == [(shapes + scenery) / 2]
    assert found.counts("shapes kept")[-1] == (2 * shapes, 2)
    assert found.shares("scenery pixels kept")[-1][0] == pytest.approx(pixels, abs=0.06)


@pytest.mark.parametrize("spoil", [lambda film: film[:1].expand_as(film), torch.zeros_like], ids=["frozen", "blank"])
def test_a_film_that_is_nothing_from_the_first_frame_on_has_nothing_to_keep(spoil: Callable[[Tensor], Tensor]) -> None:
    found = shown(spoil(render(SCENE, 0, 2 * HALF)[0]))
    assert all(found.shares(chart) == [[], []] for chart in KEPT)
    assert found.samples()["things at the start"] == [0]


def test_each_thing_has_a_figure_of_its_own_and_each_length_a_point() -> None:
    film = torch.cat([render(SCENE, 0, HALF)[0], FILMS["a colour changes"][0]()])
    samples = shown(film).samples()
    of_things = {name: samples[f"{name} kept"] for name in ("upper shape", "lower shape", "background", "wall")}
    assert of_things == {"upper shape": [0], "lower shape": [1], "background": [1], "wall": [1]}
    assert [curve.x for curve in shown(film).curves("")] == [[HALF // 2, 2 * HALF]] * len(KEPT)


def test_blocks_lie_round_their_length_and_within_the_film() -> None:
    assert (block_at(64, 1000), block_at(500, 1000), block_at(1000, 1000)) == ((32, 96), (468, 532), (936, 1000))
    assert (block_at(8, 1000), block_at(40, 40)) == ((0, 64), (0, 40))


def test_what_flies_by_faster_than_shapes_travel_is_not_there() -> None:
    scenes = next(scene for scene in (sample_scenes(1, seed) for seed in range(50)) if scene.wall_left < 0)
    assert len(take_inventory(later(scenes)).things) == 2
    assert not take_inventory(later(replace(scenes, speed=torch.full((1, 2), 4.0)))).things


@pytest.mark.parametrize("first", [0, 5000])
def test_inventories_of_the_world_are_true_at_any_time_and_size(first: int) -> None:
    for seed in (11, 12):
        scenes = sample_scenes(1, seed)
        film = render(scenes, first, 256)[0, ::2] + 0.02 * torch.randn(128, 3, 64, 64)
        found = take_inventory(torch.nn.functional.interpolate(film, (96, 96), mode="bilinear"))
        assert found.scenery["background"]["place"] == tuple(PLACES)[int(scenes.place[0])]
        assert found.scenery["wall"]["material"] == tuple(WALLS)[int(scenes.wall[0])]
        assert {thing["kind"] for thing in found.things.values()} <= {KINDS[int(kind)] for kind in scenes.kind[0]}


def test_captions_name_nothing_or_everything_as_they_are_asked_to() -> None:
    world = open_world("passage")
    assert captions_of(world, 3, 0, naming="nothing") == [world.plain_caption] * 3
    for caption, some in zip(captions_of(world, 3, 0, naming="everything"), captions_of(world, 3, 0), strict=True):
        assert len(caption.split()) >= len(some.split())
        assert sum(word in caption.split() for word in COLOURS) + sum(word in caption.split() for word in KINDS) >= 2
        assert any(word in caption.split() for word in WALLS)
