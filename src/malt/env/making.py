"""`make`: an environment from the name of a model or world, a folder, or a pipeline."""

from pathlib import Path
from typing import Unpack

from malt.env.environment import MAX_SESSIONS, Environment
from malt.env.model_simulator import ModelSimulator
from malt.env.simulator import Simulator
from malt.env.true_simulator import STEP_FRAMES, TrueSimulator
from malt.errors import UsageError
from malt.pipelines.loading import load_pipeline
from malt.pipelines.packaged import packaged_models
from malt.sessions.pipeline import SessionPipeline, SessionSettings
from malt.worlds.registry import WORLDS, open_world


def make(
    model: str | Path | SessionPipeline = "default",
    num_envs: int = 1,
    *,
    true_world: bool = False,
    map_file: str | Path | None = None,
    by_frame: bool = False,
    walls: bool = False,
    max_sessions: int = MAX_SESSIONS,
    device: str = "cpu",
    **settings: Unpack[SessionSettings],
) -> Environment:
    """An environment of a world model, in the style of gymnasium.

    Args:
        model: the name of a model that comes with the package, such as "drive", its folder, or a pipeline that is loaded
            already; with `true_world`, the name of a world.
        num_envs: how many sessions go on together.
        true_world: whether it is the world itself, not a model of it, behind the same interface.
        map_file: the map of a true world, a text file, as `malt world --map` takes it; None for the world's own.
        by_frame: whether a step is one frame, not a segment's worth. Each change of action then makes a segment again.
        walls: whether walls that are in sight stop a step in a model's maze, as they do in the true one.
        max_sessions: how many sessions it, or a fork of it, may hold.
        device: where a model that is loaded here computes.
        settings: those of a session, such as num_inference_steps.

    Raises:
        UsageError: there is no such model or world, or what it needs is not installed.
        CheckpointError: the folder does not hold a model that can be loaded.
    """
    if map_file is not None and not true_world:
        raise UsageError("a model makes up its own maze; give a map with true_world=True")
    if walls and true_world:
        raise UsageError(f"the true {model} has walls of its own; leave walls out")
    simulator = _true_world(model, by_frame, map_file) if true_world else _of_model(model, device, walls, settings)
    return Environment(simulator, num_envs, by_frame=by_frame, max_sessions=max_sessions)


def _true_world(name: str | Path | SessionPipeline, by_frame: bool, map_file: str | Path | None) -> Simulator:
    if not isinstance(name, str):
        raise UsageError(f"the true world of a model is asked for by its name; choose from {', '.join(WORLDS)}")
    if name not in WORLDS and name in packaged_models():
        raise UsageError(
            f"the model {name} has no true world to act in: it learned from recordings; choose from {', '.join(WORLDS)}"
        )
    world = open_world(name, map_file=None if map_file is None else Path(map_file))
    return TrueSimulator(world, 1 if by_frame else STEP_FRAMES)


def _of_model(model: str | Path | SessionPipeline, device: str, walls: bool, settings: SessionSettings) -> Simulator:
    if not isinstance(model, str | Path):
        return ModelSimulator(
            model, str(model.config.get("_name_or_path") or type(model).__name__), walls=walls, **settings
        )
    if model not in packaged_models() and str(model) in WORLDS and not Path(model).is_dir():
        raise UsageError(f"there is no model of the world {model} here; give true_world=True, or the folder of one")
    pipe = load_pipeline(model)
    return ModelSimulator(pipe.to(device), Path(model).name, walls=walls, **settings)
