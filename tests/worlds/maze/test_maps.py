"""Laws of maps of one's own: what the file says is what is walked through and seen, and what is no map is told where."""

from pathlib import Path

import numpy as np
import pytest
import torch

import malt
from malt.cli import main
from malt.errors import UsageError
from malt.worlds.maze.map_file import read_map
from malt.worlds.maze.maze_world import Maze
from malt.worlds.registry import open_world

HOUSE = """
###########
#aaa#bbbbb#
#aAa bbbBb#
#aaa#bbbbb#
## ######b#
#ddd eeeee#
#ddd#eeEee#
###########
""".lstrip()
ROUND = "\n".join(["#########", "#       #", *["# ##### #"] * 5, "#       #", "#########"])


def house(tmp_path: Path, text: str = HOUSE) -> Path:
    path = tmp_path / "house.txt"
    path.write_text(text)
    return path


def test_rooms_doors_and_objects_are_those_of_the_file(tmp_path: Path) -> None:
    plan, _ = read_map(house(tmp_path))
    assert sorted(len(area) for area in plan.areas.values()) == [6, 9, 10, 16]
    assert len(plan.doors) == 4 and plan.side == 11
    assert [(thing.x, thing.y) for thing in plan.objects] == [(2.5, 5.5), (7.5, 1.5), (8.5, 5.5)]
    assert plan.open_cells()[2, 3] is None and (4, 4) not in plan.open_cells()


@pytest.mark.parametrize("text", [HOUSE, ROUND], ids=["letters", "no letters"])
@pytest.mark.parametrize("policy", Maze().policies)
def test_every_policy_walks_through_a_map_and_never_into_a_wall(tmp_path: Path, policy: str, text: str) -> None:
    world = Maze().on_map(house(tmp_path, text)).under(policy)
    actions, poses = world.path(3, 0, 600)
    reached, done = world.act([3], poses[:1], actions[None, 1:])
    torch.testing.assert_close(done[0], actions[1:])
    torch.testing.assert_close(reached[0, :, :2], poses[1:, :2], atol=1e-3, rtol=0)
    assert len({(int(x), int(y)) for x, y, _ in poses.tolist()}) > 8


def test_a_seed_says_where_a_map_is_entered_and_a_stretch_is_always_the_same(tmp_path: Path) -> None:
    world = Maze().on_map(house(tmp_path))
    assert len({tuple(world.begin([seed])[0].tolist()) for seed in range(12)}) > 4
    whole, late = world.render([1, 2], 0, 12), Maze().on_map(house(tmp_path)).render([2], 8, 4)
    assert torch.equal(whole.frames[1:, 8:], late.frames)


def test_a_map_without_letters_looks_another_way_from_square_to_square(tmp_path: Path) -> None:
    plan, _ = read_map(house(tmp_path, ROUND))
    assert len({look.wall for look in plan.looks.values()}) == 4


def test_true_worlds_are_acted_in_on_a_map_and_states_belong_to_it(tmp_path: Path) -> None:
    env = malt.make("maze", true_world=True, map_file=house(tmp_path))
    first = env.reset(0)
    assert (env.step([[1.0, 0.0]])[0, -1] != first[0, -1]).any()
    with pytest.raises(UsageError, match="of other weights or settings"):
        malt.make("maze", true_world=True).restore(env.state())
    with pytest.raises(UsageError, match="give a map with true_world=True"):
        malt.make("maze", map_file=house(tmp_path))


def test_a_sheet_and_recordings_are_made_on_a_map(tmp_path: Path) -> None:
    options = ["--map", str(house(tmp_path)), "--frames", "8"]
    assert main(["world", "maze", *options, "--scenes", "1", "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["world", "maze", *options, "--count", "1", "--record", str(tmp_path / "walks")]) == 0
    (video,) = (tmp_path / "walks").glob("maze-*-000000.mp4")
    poses = np.loadtxt(video.with_suffix(".poses.csv"), delimiter=",", skiprows=1)
    assert poses.shape == (8, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: the map is empty"),
        ("#" * 65, "line 1, column 1: the map is empty or larger than 64"),
        ("####\n####\n####", "line 1, column 1: the map is all wall"),
        ("#####\n#a.b#\n#####", r"line 2, column 3: '\.' is no part of a map; use # for walls"),
        ("#####\n#aäb#\n#####", "line 2, column 3: 'ä' is no part of a map"),
        ("#a###\n#aab#\n#####", "line 1, column 2: the map is open to the outside here"),
        ("#####\n aab#\n#####", "line 2, column 1: the map is open to the outside here"),
        ("#####\n#aab\n#####", "line 2, column 5: the map is open to the outside here"),
        ("#####\n#aab#\n###", "line 2, column 4: the map is open to the outside here"),
        ("######\n#aa#b#\n######", "line 2, column 5: no way leads from here to the other rooms"),
        ("#####\n#aaa#\n#####", "line 2, column 3: this is the only room"),
    ],
)
def test_a_file_that_is_no_map_is_refused_with_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_map(house(tmp_path, text))


def test_a_map_that_cannot_be_read_or_is_given_to_another_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"could not read the map .*no\.txt \(No such file"):
        read_map(tmp_path / "no.txt")
    (tmp_path / "bytes").write_bytes(b"\xff\x00\x80")
    with pytest.raises(UsageError, match="could not read the map"):
        read_map(tmp_path / "bytes")
    for name in ("passage", "doom"):
        with pytest.raises(UsageError, match=f"the world {name} takes no map"):
            open_world(name, map_file=house(tmp_path))


def test_a_policy_that_a_map_has_no_room_for_is_refused(tmp_path: Path) -> None:
    world = Maze().on_map(house(tmp_path, "#####\n#a b#\n#####"))
    with pytest.raises(UsageError, match="has no policy 'loop'; choose one of explore, replay, return, wander"):
        world.under("loop")
    assert world.render([0, 1, 2, 3], 0, 2).frames.shape[0] == 4
