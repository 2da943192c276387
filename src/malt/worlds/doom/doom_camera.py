"""The engine of ViZDoom as a camera: pictures of a map from poses.

The engine is a process of its own, with its files in a folder that goes with it. Time stands still in the map and nothing is
in the way, so a picture depends on the map and the pose alone.
"""

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import UInt8

from malt.errors import UsageError
from malt.worlds.doom.freedoom_rooms import FreedoomPlan
from malt.worlds.doom.wad_file import MAP, map_units, write_wad

# (x, y, heading), as the floor plan has them -> a picture (192, 192, 3)
Camera = Callable[[float, float, float], UInt8[np.ndarray, "h w 3"]]
WIDE = 106  # degrees that the width of the screen sees, so that a square of its height sees 90
ARGS = f"+movebob 0 +fov {WIDE}"
TICS_TO_WAKE = 20  # before these the player obeys no turns
TRIES = 4
BROKEN = (
    "FileDoesNotExistException",
    "MessageQueueException",
    "SharedMemoryException",
    "ViZDoomErrorException",
    "ViZDoomUnexpectedExitException",
)
EXACT = 0.01  # degrees


@contextmanager
def doom_camera(plan: FreedoomPlan) -> Iterator[Camera]:
    """A camera in the rooms of a plan.

    Raises:
        UsageError: the package vizdoom is not installed, or its engine cannot be started.
    """
    vizdoom = _vizdoom()
    with TemporaryDirectory(prefix="malt-doom-") as folder:
        write_wad(Path(folder) / "rooms.wad", plan)
        game = _configured(vizdoom, Path(folder))
        broken = tuple(getattr(vizdoom, name) for name in BROKEN)
        try:
            game.init()
            game.advance_action(TICS_TO_WAKE)
            for command in ("noclip", "freeze"):
                game.send_game_command(command)
            game.advance_action(1)
            yield lambda x, y, heading: _picture(game, map_units(x), map_units(y), math.degrees(heading))
        except broken as error:
            raise UsageError(f"the engine of vizdoom stopped ({error}); install the package again") from error
        finally:
            game.close()


def _picture(game: Any, x: int, y: int, degrees: float) -> UInt8[np.ndarray, "h w 3"]:
    """The square in the middle of the screen, seen from there."""
    for _ in range(TRIES):
        state = game.get_state()
        now_x, now_y, now = state.game_variables
        turn = (degrees - now + 180) % 360 - 180
        if (now_x, now_y) == (x, y) and abs(turn) < EXACT:
            screen = state.screen_buffer
            side = (screen.shape[1] - screen.shape[0]) // 2
            picture: UInt8[np.ndarray, "h w 3"] = screen[:, side : screen.shape[1] - side].copy()
            return picture
        game.send_game_command(f"warp {x} {y}")
        game.make_action([-turn])  # the button's positive direction is to the right
    raise UsageError(f"the engine of vizdoom does not come to {x}, {y}, {degrees:g} degrees; keep inside the rooms")


def _configured(vizdoom: Any, folder: Path) -> Any:
    """A game on the folder's map that shows the bare picture and obeys one button, which turns."""
    game, package, variable = vizdoom.DoomGame(), Path(vizdoom.__file__).parent, vizdoom.GameVariable
    game.set_vizdoom_path(str(_launcher(package / "vizdoom", folder)))
    game.set_doom_config_path(str(folder / "engine.ini"))
    game.set_doom_game_path(str(package / "freedoom2.wad"))
    game.set_doom_scenario_path(str(folder / "rooms.wad"))
    game.set_doom_map(MAP)
    game.set_seed(0)
    game.set_window_visible(False)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_256X192)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    for part in ("hud", "weapon", "crosshair", "messages", "particles", "decals", "screen_flashes"):
        getattr(game, f"set_render_{part}")(False)
    game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    game.set_available_game_variables([variable.POSITION_X, variable.POSITION_Y, variable.ANGLE])
    game.add_game_args(ARGS)
    return game


def _launcher(engine: Path, folder: Path) -> Path:
    """A script that starts the engine in this folder: the engine makes a folder wherever it is started."""
    path = folder / "start"
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(folder))} && exec {shlex.quote(str(engine))} "$@"\n')
    path.chmod(0o700)
    return path


def _vizdoom() -> Any:
    try:
        import vizdoom
    except ImportError as error:
        raise UsageError(
            "the world doom needs the package vizdoom; install it with pip install 'malt-diffusion[doom]'"
        ) from error
    return vizdoom
