import struct
import sys
from pathlib import Path

import pytest
import torch

from malt.errors import UsageError
from malt.evaluation.metrics.recall import Recall
from malt.worlds.doom.doom_camera import doom_camera
from malt.worlds.doom.doom_world import Doom
from malt.worlds.doom.freedoom_rooms import CEILINGS, DOORWAY, FLOORS, WALLS, freedoom_plan
from malt.worlds.doom.wad_file import write_wad
from malt.worlds.maze.floor_plan import floor_plan, middle
from malt.worlds.maze.maze_world import Maze
from malt.worlds.registry import oracle_of

SEED = 3


def lumps(path: Path) -> dict[str, bytes]:
    """The parts of a WAD file by name; of equal names the last."""
    data = path.read_bytes()
    _, num, start = struct.unpack("<4sii", data[:12])
    entries = [struct.unpack("<ii8s", data[at : at + 16]) for at in range(start, start + 16 * num, 16)]
    return {name.rstrip(b"\0").decode("latin-1"): data[at : at + size] for at, size, name in entries}


@pytest.fixture(scope="module")
def vizdoom_folder() -> Path:
    vizdoom = pytest.importorskip("vizdoom", reason="the optional package vizdoom is not installed")
    return Path(vizdoom.__file__).parent


def test_no_two_rooms_of_a_plan_have_the_same_walls_or_the_same_floor() -> None:
    for seed in range(20):
        rooms = freedoom_plan(seed, floor_plan(seed)).rooms.values()
        assert len({room.wall for room in rooms}) == len({room.floor for room in rooms}) == len(rooms)


def test_a_map_has_a_sector_for_each_room_and_door_and_all_else_of_the_plan(tmp_path: Path) -> None:
    plan = floor_plan(SEED)
    write_wad(tmp_path / "rooms.wad", freedoom_plan(SEED, plan))
    text = lumps(tmp_path / "rooms.wad")["TEXTMAP"].decode()
    assert text.count("sector {") == len(plan.looks) + len(plan.doors)
    assert text.count("twosided = true") == 2 * len(plan.doors)
    assert text.count("thing {") == 1 + len(plan.objects)


def test_without_the_package_a_sentence_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(UsageError, match=r"doom needs the package vizdoom; install it with .*\[doom\]"):
        Doom().render([SEED], 0, 1)


def test_its_oracle_knows_when_one_comes_back_and_recall_is_refused_in_a_sentence() -> None:
    own, other = oracle_of(Doom(), "this test"), oracle_of(Maze(), "this test")
    assert own.returns([0, 1], 320) == other.returns([0, 1], 320) != []
    with pytest.raises(UsageError, match="recall needs an oracle that reads pictures, .* leave it out"):
        Recall(world=Doom())


def test_every_texture_is_in_freedoom(vizdoom_folder: Path) -> None:
    parts = lumps(vizdoom_folder / "freedoom2.wad")
    walls = parts["TEXTURE1"] + parts.get("TEXTURE2", b"")
    assert [name for name in (*WALLS, DOORWAY.wall) if name.encode().ljust(8, b"\0") not in walls] == []
    assert [name for name in (*FLOORS, *CEILINGS, DOORWAY.floor, DOORWAY.ceiling) if name not in parts] == []


def test_the_walks_are_those_of_maze_and_the_pictures_are_not(vizdoom_folder: Path) -> None:
    doom, maze = Doom().render([SEED], 0, 4), Maze().render([SEED], 0, 4)
    assert doom.poses is not None and maze.poses is not None and torch.equal(doom.poses, maze.poses)
    assert doom.actions is not None and maze.actions is not None and torch.equal(doom.actions, maze.actions)
    assert doom.frames.shape == maze.frames.shape and doom.frames.abs().max() <= 1
    assert (doom.frames - maze.frames).abs().mean() > 0.1


def test_a_stretch_is_the_same_alone_and_beside_others(vizdoom_folder: Path) -> None:
    whole = Doom().render([SEED, SEED + 1], 0, 24).frames
    assert torch.equal(Doom().render([SEED + 1], 16, 8).frames[0], whole[1, 16:])


def test_a_place_looks_the_same_when_one_comes_back(vizdoom_folder: Path) -> None:
    there, elsewhere = [6.5, 6.5, 0.4], [2.5, 2.5, 3.0]
    frames = Doom().look([SEED], torch.tensor([[there, elsewhere, there]]))[0]
    assert torch.equal(frames[0], frames[2])
    assert (frames[0] - frames[1]).abs().mean() > 0.05


def test_objects_are_in_nobodys_way(vizdoom_folder: Path) -> None:
    standing = floor_plan(SEED).objects[0]
    assert Doom().look([SEED], torch.tensor([[[standing.x, standing.y, 1.0]]])).isfinite().all()


def test_other_sizes_show_the_same(vizdoom_folder: Path) -> None:
    small, large = (Doom(frame_size=(side, side)).render([SEED], 5, 1).frames[0] for side in (64, 192))
    assert torch.allclose(torch.nn.functional.avg_pool2d(large, 3), small, atol=1e-5)


def test_the_engine_leaves_nothing_behind(
    vizdoom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Doom().render([SEED], 0, 1)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_cannot_be_started_is_a_sentence(vizdoom_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malt.worlds.doom.doom_camera._launcher", lambda engine, folder: folder / "no-engine")
    with pytest.raises(UsageError, match="the engine of vizdoom stopped .* install the package again"):
        Doom().render([SEED], 0, 1)


def test_an_interruption_ends_the_engine_and_is_not_swallowed(
    vizdoom_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), doom_camera(freedoom_plan(SEED, floor_plan(SEED))) as camera:
        camera(*middle(floor_plan(SEED).start), 0.0)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
