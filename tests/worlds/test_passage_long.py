"""Laws of `passage-long`: shapes stay behind the wall for up to 2,000 frames, and everything else is as ever."""

import torch

from malt.worlds.passage.long_scenes import LONG_SPANS, LONGEST, SHORTEST, long_scenes_of
from malt.worlds.passage.occlusions import CONTEXT, HORIZON, runs
from malt.worlds.passage.oracle import read_shapes
from malt.worlds.passage.scenes import KINDS, fully_visible, hidden, scenes_of
from malt.worlds.registry import open_world, oracle_of

SEEDS = range(300)


def test_a_quarter_of_the_scenes_are_those_of_passage() -> None:
    long, ordinary = long_scenes_of(SEEDS), scenes_of(SEEDS)
    same = (long.behind == ordinary.behind).all(1)
    assert 0.15 < same.float().mean() < 0.35
    for name, value in vars(long).items():
        assert torch.equal(value[same], getattr(ordinary, name)[same])
        if name not in ("wall_left", "wall_right", "behind", "phase"):
            assert torch.equal(value, getattr(ordinary, name))


def test_a_scene_never_depends_on_its_batch() -> None:
    many, alone = long_scenes_of(range(5, 12)), long_scenes_of([9])
    for name, value in vars(alone).items():
        assert torch.equal(getattr(many, name)[4:5], value)


def test_hidden_times_are_log_uniform_from_the_shortest_to_the_longest() -> None:
    long = long_scenes_of(SEEDS)
    is_long = (long.behind != scenes_of(SEEDS).behind).flatten()
    away = hidden(long, 0, 3 * LONGEST).movedim(1, -1).flatten(0, 1)[is_long]
    spells = torch.tensor([max(last - first for first, last in runs(track)[1:-1] or [(0, 0)]) for track in away])
    assert spells[spells > 0].min() >= SHORTEST - 2
    assert spells.max() <= LONGEST + 2
    octaves = torch.log2(spells[spells > 0] / SHORTEST)
    assert abs(float((octaves < octaves.max() / 2).float().mean()) - 0.5) < 0.1


def test_a_film_begins_with_both_shapes_in_full_sight() -> None:
    assert fully_visible(long_scenes_of(SEEDS), 0, 1, margin=0.99).all()


def test_what_is_hidden_for_so_long_is_given_before_and_comes_out_behind_the_given_frames() -> None:
    world = open_world("passage-long")
    oracle = oracle_of(world, "a test")
    found = oracle.occlusions(1, 0)
    assert list(found) == [span.name for span in LONG_SPANS] == ["64-127", "256-512", "1000-2000"]
    for span in LONG_SPANS:
        (each,) = found[span.name]
        assert span.holds(each.hidden_frames)
        scenes, end = long_scenes_of([each.seed]), each.start + each.given_frames
        assert hidden(scenes, end - CONTEXT, CONTEXT)[0, :, each.place].all()
        assert fully_visible(scenes, each.start, each.given_frames)[0, :, each.place].sum() >= 4
        after = world.render([each.seed], end, HORIZON).frames[0]
        assert oracle.returning(after, each) == each.thing
        assert each.thing["kind"] in KINDS


def test_the_oracle_reads_no_shape_that_is_hidden_far_behind_the_edge() -> None:
    scenes = long_scenes_of(range(40))
    away = hidden(scenes, 900, 1).all(2)[:, 0]
    assert away.sum() > 3
    frames = open_world("passage-long").render(away.nonzero()[:, 0].tolist(), 900, 1).frames[:, 0]
    assert not any(read_shapes(frames))
