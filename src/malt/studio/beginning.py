"""How a new video begins: its settings, its session, and the frames that it is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from malt.errors import UsageError
from malt.media.pixels import to_tensor
from malt.rollouts.base import Segment
from malt.sessions.session import Session
from malt.studio.maze_walk import NOTE, TRUE_FRAMES, WalledPolicy, true_beginning, walks
from malt.studio.policy import StudioPolicy

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """A new video: `num_frames` more frames (None: until it is stopped), settings of the session, and its first frames.

    maze: the seed of a true maze in which a walk begins.
    """

    prompt: str
    num_frames: int | None
    seed: int = 0
    rollout: str = "malt"
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    first: np.ndarray | None = None
    maze: int | None = None


def begin_session(pipe: "VideoPipeline", settings: GenerationSettings) -> Session:
    """A session in which nothing has been made.

    Raises:
        UsageError: the model cannot make such a video.
    """
    if settings.maze is not None and not walks(pipe.action_names):
        raise UsageError("this model does not walk through mazes; choose the model maze")
    return Session.begin(
        pipe,
        settings.prompt if settings.prompt.strip() or not pipe.action_names else "",
        seed=settings.seed,
        rollout=settings.rollout,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
    )


def num_given(settings: GenerationSettings) -> int:
    """How many frames, about, a video is given."""
    if settings.maze is not None:
        return TRUE_FRAMES
    return 0 if settings.first is None else len(settings.first)


def absorb(session: Session, settings: GenerationSettings) -> Iterator[Segment]:
    """The segments that given frames become, one by one."""
    if settings.maze is not None:
        yield from session.prefill(*true_beginning(settings.maze))
    elif settings.first is not None:
        given, names = to_tensor(settings.first), session.pipe.action_names
        yield from session.prefill(given, given.new_zeros(len(given), len(names)) if names else None)


def maze_of(session: Session) -> int | None:
    """The seed of the true maze that a walk goes through."""
    seed = session.state.notes.get(NOTE)
    return seed if isinstance(seed, int) else None


def hand_on(session: Session) -> StudioPolicy | None:
    """What a visitor steers a session with; None for models that take no actions."""
    names, seed = session.pipe.action_names, maze_of(session)
    if not names:
        return None
    return StudioPolicy(names) if seed is None else WalledPolicy(names, seed, lambda: session.state.actions)
