"""All worlds by name. A new one is a folder beside this file and a line here."""

from difflib import get_close_matches
from functools import cache
from importlib import import_module

from malt.errors import UsageError
from malt.worlds.base import Oracle, World

# The class is named, not imported: a world's modules load when it is first used.
WORLDS = {
    "passage": "malt.worlds.passage.passage_world:Passage",
    "passage-long": "malt.worlds.passage.passage_world:passage_long",
}
DEFAULT_WORLD = "passage"


def open_world(name: str | None = None) -> World:
    """The world of this name; without one, the world that the default model learned.

    Raises:
        UsageError: there is none; the nearest is suggested.
    """
    name = name or DEFAULT_WORLD
    if name not in WORLDS:
        close = get_close_matches(name, WORLDS, n=1)
        hint = f"did you mean {close[0]!r}" if close else f"choose from {', '.join(WORLDS)}"
        raise UsageError(f"there is no world {name!r}; {hint}")
    return _made(WORLDS[name])


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
