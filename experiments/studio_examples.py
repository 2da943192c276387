"""The clips that the studio shows before anything is made: what the models that come with the package make of a prompt.

    python experiments/studio_examples.py [NAME ...]

Each is a JPEG of the first frames side by side, with a line in NAME.json, in src/malt/studio/page/examples. A visitor who
clicks a prompt gets the video of the same seed, which begins with what the clip shows.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image

from malt.commands.model_options import load_model
from malt.media.pixels import to_pixels
from malt.pipelines.packaged import packaged_models
from malt.pipelines.video_pipeline import VideoPipeline
from malt.sessions.action_policies import build_policy
from malt.sessions.session import Session
from malt.studio.examples import CLIPS, PROMPTS, Example
from malt.studio.maze_walk import TRUE_FRAMES, true_beginning
from malt.worlds.maze.maze_world import Maze

SEEDS = {"default": (3, 1, 5, 2, 1, 4), "teacher": (3, 1, 5, 2, 11, 4)}
LENGTH, ACTED_LENGTH, MAZE = 48, 64, 7
JPEG = {"quality": 88, "subsampling": 0}


def spoken(pipe: VideoPipeline, seeds: tuple[int, ...]) -> Iterator[tuple[str, int, np.ndarray]]:
    """Prompt, seed and frames of a model that takes words."""
    for prompt, seed in zip(PROMPTS, seeds, strict=True):
        yield prompt, seed, frames_of(Session.begin(pipe, prompt, seed=seed), LENGTH)


def driven(pipe: VideoPipeline) -> Iterator[tuple[str, int, np.ndarray]]:
    """A drive along a smooth random course."""
    driver = build_policy("cruise", pipe.action_names, frame_rate=pipe.frame_rate, seed=2)
    session, length = Session.begin(pipe, seed=2), ACTED_LENGTH
    yield "", 2, np.concatenate([to_pixels(segment.frames[0]) for segment in session.stream(length, driver)])[:length]


def walked(pipe: VideoPipeline) -> Iterator[tuple[str, int, np.ndarray]]:
    """A walk that goes on from true frames of a maze, and one through a maze that the model makes up."""
    for seed, given in ((1, TRUE_FRAMES), (4, 0)):
        session, world, made = Session.begin(pipe, seed=seed), Maze().under("explore"), list[np.ndarray]()
        for _ in session.prefill(*true_beginning(MAZE)) if given else ():
            pass
        while session.num_frames < given + ACTED_LENGTH:
            actions = world.actions(MAZE, session.num_frames, session.frames_ahead)
            made.append(to_pixels(session.advance(actions).frames[0]))
        yield "", seed, np.concatenate(made)[:ACTED_LENGTH]


def frames_of(session: Session, length: int) -> np.ndarray:
    """What a session makes first."""
    return np.concatenate([to_pixels(segment.frames[0]) for segment in session.stream(length)])[:length]


def main() -> None:
    """Make all clips anew."""
    CLIPS.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or packaged_models():
        folder = packaged_models()[name]
        pipe = load_model(folder, device="cpu")
        made = driven(pipe) if name == "drive" else walked(pipe) if name == "maze" else spoken(pipe, SEEDS[name])
        entries = list[Example]()
        for number, (prompt, seed, frames) in enumerate(made):
            clip = f"{name}-{number + 1}.jpg"
            Image.fromarray(np.concatenate(list(frames), axis=1)).save(CLIPS / clip, "JPEG", **JPEG)
            entries.append(Example(prompt=prompt, seed=seed, clip=clip, length=len(frames)))
        (CLIPS / f"{name}.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
