"""A model as a simulator: sessions that stand at segments of their own are made in one forward pass."""

import hashlib
import json
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Unpack, cast

import torch
from jaxtyping import Float
from torch import Tensor

from malt.env.simulator import Simulated, SimulatorStep
from malt.env.solid_walls import SolidWalls
from malt.env.state_size import state_bytes
from malt.media.pixels import to_pixels
from malt.rollouts.base import RolloutState
from malt.sessions.fingerprint import identify
from malt.sessions.joint_advance import NextSegment, advance_together
from malt.sessions.pipeline import BaseRollout, SessionPipeline, SessionSettings
from malt.sessions.session_state import draw_seed, settle

MAX_TOGETHER = 64  # sessions in one forward pass; more go in several
MAX_PROMPTS = 256  # whose embeddings are kept ready


class ModelSimulator:
    """Any pipeline that sessions can be made with."""

    def __init__(
        self, pipe: SessionPipeline, name: str, *, walls: bool = False, **settings: Unpack[SessionSettings]
    ) -> None:
        """Take a pipeline; with `walls`, those in sight stop a step.

        Raises:
            UsageError: the model has no walls that could be seen.
        """
        self._walls = SolidWalls(pipe, name) if walls else None
        self.pipe, self.name, self.settings = pipe, name, settings
        self.action_names = tuple(pipe.action_names)
        self.frame_rate = pipe.frame_rate
        height, width = pipe.frame_size
        self.frame_size = settings.get("height") or height, settings.get("width") or width
        self._rollouts, self._lock = OrderedDict[str, BaseRollout](), threading.Lock()

    @cached_property
    def identity(self) -> str:
        """The hash of the model and of how it is settled."""
        rollout = next(iter(self._rollouts.values()), None) or self.rollout("a")
        told = json.dumps([identify(self.pipe).sha256, settle(rollout, self.settings)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def frames_per_step(self) -> int:
        """A segment's worth."""
        return self.pipe.codec.frames_of(self.pipe.transformer.segment_frames, first=False)

    @property
    def num_steps(self) -> int:
        """Denoising steps of a segment."""
        return cast(int, self.settings.get("num_inference_steps") or self.pipe.config.get("num_inference_steps") or 1)

    def state_bytes(self) -> int:
        """What is remembered, and the latents and decoder's cache that a session is gone on with from."""
        return self._state_bytes

    @cached_property
    def _state_bytes(self) -> int:
        return state_bytes(self.pipe, *self.frame_size)

    def begin(self, seed: int, prompt: str) -> RolloutState:
        """As `Session.begin` with this seed."""
        return self.rollout(prompt).begin(draw_seed(seed))

    def frames_ahead(self, progress: RolloutState) -> int:
        """How many frames the next segment has."""
        return next(iter(self._rollouts.values())).frames_ahead(progress)

    def prompted(self, progress: RolloutState, prompt: str) -> RolloutState:
        """The same with its past seen under the new prompt."""
        rollout = self.rollout(prompt)
        return rollout.rebuild_memory(progress) if progress.index else progress

    def advance(self, steps: Sequence[SimulatorStep], between: Callable[[], None] | None = None) -> list[Simulated]:
        """One forward pass for all sessions of one shape: those that have begun, and those that have not."""
        groups = defaultdict[Hashable, list[int]](list)
        segments = [
            NextSegment(rollout=self.rollout(step.prompt), state=step.progress, actions=self._done(step))
            for step in steps
        ]
        for number, segment in enumerate(segments):
            groups[segment.shape].append(number)
        made: dict[int, Simulated] = {}
        for group in groups.values():
            for begin in range(0, len(group), MAX_TOGETHER):
                chunk = group[begin : begin + MAX_TOGETHER]
                results = advance_together([segments[number] for number in chunk], between=between)
                for number, (finished, after) in zip(chunk, results, strict=True):
                    made[number] = to_pixels(finished.frames[0]), after
        return [made[number] for number in range(len(steps))]

    def _done(self, step: SimulatorStep) -> Float[Tensor, "t a"] | None:
        """What of a step's actions is done."""
        if self._walls is None or step.actions is None:
            return step.actions
        return self._walls(step.progress, step.actions)

    @torch.no_grad()
    def rollout(self, prompt: str) -> BaseRollout:
        """The way in which a prompt becomes video.

        Raises:
            UsageError: the prompt or the settings do not fit the model.
        """
        with self._lock:
            if prompt not in self._rollouts:
                self._rollouts[prompt] = self.pipe.rollout(prompt, **self.settings)
            self._rollouts.move_to_end(prompt)
            if len(self._rollouts) > MAX_PROMPTS:
                self._rollouts.popitem(last=False)
            return self._rollouts[prompt]
