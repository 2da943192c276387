"""Laws of what is concluded from readings."""

from dataclasses import replace

from malt.worlds.passage.appearances import Appearance, follow, obeyed, same_identity, vote
from malt.worlds.passage.captions import Caption, Named
from malt.worlds.passage.oracle import Seen, read_shapes
from malt.worlds.passage.scenes import COLOURS, KINDS, render, sample_scenes

HEIGHTS = (17.0, 47.0)


def seen(kind: str, colour: str, lane: int = 0) -> Seen:
    return Seen(kind, colour, 20.0, HEIGHTS[lane], 6.5, 0.95)


def frames(*spells: tuple[int, Seen | None]) -> list[list[Seen]]:
    """So many frames with this reading, then so many with that."""
    return [[reading] if reading else [] for count, reading in spells for _ in range(count)]


RED_CIRCLE, BLUE_CROSS = seen("circle", "red"), seen("cross", "blue")


def test_a_shape_that_comes_out_as_it_went_in_is_the_same() -> None:
    (again,) = same_identity(frames((10, RED_CIRCLE), (30, None), (10, RED_CIRCLE)))
    assert again.same
    assert (again.lane, again.hidden_frames) == (0, 30)
    assert again.before == Appearance(first_frame=0, last_frame=9, kind="circle", colour="red")
    assert again.after == Appearance(first_frame=40, last_frame=49, kind="circle", colour="red")


def test_a_shape_that_comes_out_of_another_kind_or_colour_is_not_the_same() -> None:
    for other in (seen("circle", "blue"), seen("square", "red")):
        (again,) = same_identity(frames((10, RED_CIRCLE), (30, None), (10, other)))
        assert not again.same


def test_a_short_gap_hides_nothing() -> None:
    readings = frames((10, RED_CIRCLE), (7, None), (10, RED_CIRCLE))
    assert same_identity(readings) == []
    assert len(same_identity(readings, min_hidden=7)) == 1


def test_a_shape_is_what_most_of_its_readings_say() -> None:
    (appearance,) = follow(frames((3, BLUE_CROSS), (6, RED_CIRCLE), (2, BLUE_CROSS)), 0)
    assert (appearance.kind, appearance.colour) == ("circle", "red")
    assert vote([]) is None


def test_a_single_reading_is_too_little_to_go_by() -> None:
    assert follow(frames((20, None), (1, BLUE_CROSS), (20, None)), 0) == []


def test_lanes_are_followed_apart() -> None:
    low = seen("square", "green", lane=1)
    both = [
        up + down for up, down in zip(frames((40, RED_CIRCLE)), frames((10, low), (20, None), (10, low)), strict=True)
    ]
    (again,) = same_identity(both)
    assert again.lane == 1


def test_the_first_named_shape_is_sought_above_and_the_second_below() -> None:
    readings = [[RED_CIRCLE, seen("square", "green", lane=1)]] * 10
    upper, lower = Named(kind="circle", colour="red"), Named(kind="square", colour="green")
    assert obeyed(readings, Caption(shapes=(upper, lower))) == (4, 4)
    assert obeyed(readings, Caption(shapes=(lower, upper))) == (0, 4)


def test_one_named_shape_may_be_in_either_lane_but_must_be_one_shape() -> None:
    readings = [[RED_CIRCLE, seen("square", "green", lane=1)]] * 10
    assert obeyed(readings, Caption(shapes=(Named(kind="square", colour="green"),))) == (2, 2)
    assert obeyed(readings, Caption(shapes=(Named(kind="square", colour="red"),))) == (1, 2)


def test_what_is_left_open_is_not_counted() -> None:
    readings = [[RED_CIRCLE, seen("square", "green", lane=1)]] * 10
    assert obeyed(readings, Caption(shapes=(Named(colour="red"), Named()))) == (1, 1)
    assert obeyed(readings, Caption(wall="brick")) == (0, 0)


def test_what_never_comes_into_sight_is_not_obeyed() -> None:
    caption = Caption(shapes=(Named(kind="circle", colour="red"),))
    assert obeyed(frames((64, None), (20, RED_CIRCLE)), caption) == (0, 2)
    assert obeyed(frames((64, None), (20, RED_CIRCLE)), caption, num_frames=84) == (2, 2)


def test_the_world_itself_remembers() -> None:
    readings = read_shapes(render(sample_scenes(1, seed=0), 0, 240)[0])
    reappearances = same_identity(readings)
    assert {again.lane for again in reappearances} == {0, 1}
    assert all(again.same for again in reappearances)


def test_a_world_that_forgets_is_found_out() -> None:
    scenes = sample_scenes(1, seed=0)
    changed = replace(scenes, kind=(scenes.kind + 1) % len(KINDS), colour=(scenes.colour + 2) % len(COLOURS))
    before, after = read_shapes(render(scenes, 0, 40)[0]), read_shapes(render(changed, 0, 40)[0])
    reappearances = same_identity([*before, *[[]] * 8, *after])
    across = [again for again in reappearances if again.before.last_frame < 40 <= again.after.first_frame]
    assert {again.lane for again in across} == {0, 1}
    assert not any(again.same for again in across)
