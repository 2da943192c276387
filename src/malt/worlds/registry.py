"""All worlds by name. A new one is a folder beside this file and a line here."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path

from malt.errors import UsageError
from malt.worlds.base import ActingWorld, MappedWorld, Oracle, ScriptedWorld, World

# The class is named, not imported: a world's modules load when it is first used.
WORLDS = {
    "passage": "malt.worlds.passage.passage_world:Passage",
    "passage-long": "malt.worlds.passage.passage_world:passage_long",
    "maze": "malt.worlds.maze.maze_world:Maze",
    "doom": "malt.worlds.doom.doom_world:Doom",
}
SCRIPTED = ("maze",)  # those that are `ScriptedWorld`s
DEFAULT_WORLD = "passage"


def open_world(name: str | None = None, policy: str | None = None, map_file: Path | None = None) -> World:
    """The world of this name; without one, the world that the default model learned.

    Args:
        name: what the world is called on the command line.
        policy: how somebody acts in its videos; None for the world's own way or ways.
        map_file: a map of one's own; None for those of the world.

    Raises:
        UsageError: there is no such world (the nearest is suggested), nobody acts so in it, or it takes no such map.
    """
    name = name or DEFAULT_WORLD
    if name not in WORLDS:
        close = get_close_matches(name, WORLDS, n=1)
        hint = f"did you mean {close[0]!r}" if close else f"choose from {', '.join(WORLDS)}"
        raise UsageError(f"there is no world {name!r}; {hint}")
    world = _made(WORLDS[name])
    if map_file is not None:
        if not isinstance(world, MappedWorld):
            raise UsageError(f"the world {name} takes no map; give --map to the world maze")
        world = world.on_map(map_file)
    if policy is None:
        return world
    if not isinstance(world, ActingWorld):
        raise UsageError(f"nobody acts in the world {name}, so it has no policy {policy!r}; leave --policy out")
    return world.under(policy)


def scripted_world(action_names: Sequence[str]) -> ScriptedWorld | None:
    """The first world that lends its policies to a model with these actions; None where there is none."""
    for name in SCRIPTED:
        world = open_world(name)
        if isinstance(world, ScriptedWorld) and tuple(world.action_names) == tuple(action_names):
            return world
    return None


def oracle_of(world: World, purpose: str) -> Oracle:
    """The world's oracle.

    Args:
        world: whose videos are read.
        purpose: what needs the oracle, for the sentence that says so.

    Raises:
        UsageError: the world has no oracle.
    """
    if world.oracle is None:
        raise UsageError(f"{purpose} needs an oracle, and the world {world.name} has none; leave it out")
    return world.oracle


@cache
def _made(place: str) -> World:
    module, _, name = place.partition(":")
    world: World = getattr(import_module(module), name)()
    return world
