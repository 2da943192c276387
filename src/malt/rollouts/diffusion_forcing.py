"""`diffusion_forcing`: a window rolls over the video, its frames on a staircase of noise levels.

Each turn of the window finishes its oldest frame, which leaves it, and a frame of pure noise enters at the other end.
Source: Diffusion Forcing (arXiv:2407.01392), Rolling Diffusion Models (arXiv:2402.09470), FIFO-Diffusion (arXiv:2405.11473).
Ours: the clean frames before the window stay in view, as many as MALT's context; the levels are those of the scheduler; the
window enters a video from pure noise, each frame starting when the one before it has gone one place down.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from malt.diffusion.partial import FrameVelocity
from malt.diffusion.rolling import RollingSchedule
from malt.errors import UsageError
from malt.rollouts.base import RolloutState
from malt.rollouts.context_frames import context_before, last, with_context
from malt.rollouts.memoryless import Memoryless


@dataclass(frozen=True, kw_only=True)
class DiffusionForcingRollout(Memoryless):
    """Roll a window of `window` latent frames, None for two segments: with the context, as many in view as MALT has.

    A frame takes as nearly the base's number of steps as a multiple of the window can be. Frames are begun before it is
    known what will be done in them: till then nothing is.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        """Refuse a window that is none."""
        if self.window is not None and self.window < 1:
            raise UsageError(f"asked for a window of {self.window} latent frames; give at least 1")

    @property
    def num_kept(self) -> int:
        """The context's latent frames."""
        return self.base.transformer.context_frames

    def make(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, RolloutState]:
        """As many turns of the window as the segment has latent frames."""
        base, context, generators = self.base, self.num_kept, self.base.generators(state)
        schedule = RollingSchedule.of(base.scheduler, self.window or 2 * self.segment_frames, base.num_steps)
        beside, entering = generators.draw(context + self.segment_frames), generators.draw(self.segment_frames)
        acts = self._foreseen(state, actions, schedule.num_frames)
        tail, finished = state.tail, []

        def velocity(turn: int) -> FrameVelocity:
            span = None if acts is None else acts[:, turn : turn + context + schedule.num_frames]
            count = base.num_context(tail, context)
            return self._behind(tail, beside[:, turn : turn + count], span)

        if state.ahead:
            (window,) = state.ahead
        else:
            window = schedule.warm_up(velocity(0), generators.draw(schedule.num_frames))
        for turn in range(self.segment_frames):
            window = schedule.advance(velocity(turn), window)
            finished.append(window[:, :1])
            tail = finished[-1] if tail is None else last(torch.cat([tail, finished[-1]], dim=1), context)
            window = torch.cat([window[:, 1:], entering[:, turn : turn + 1]], dim=1)
        return torch.cat(finished, dim=1), replace(state, ahead=(window,))

    def _behind(self, tail: Tensor | None, noise: Tensor, actions: Tensor | None) -> FrameVelocity:
        """The velocity of a window's frames behind the clean ones before it."""
        context, context_level = context_before(tail, noise, self.base.context_noise)
        velocity = self.velocity(actions, context.shape[1])

        def of_window(window: Tensor, levels: Tensor) -> Tensor:
            frames, all_levels = torch.cat([context, window], dim=1), torch.cat([context_level, levels], dim=1)
            return velocity(frames, all_levels)[:, context.shape[1] :]

        return of_window

    def _foreseen(self, state: RolloutState, actions: Tensor | None, num_frames: int) -> Tensor | None:
        """What is done from the context to the end of the last turn's window; nothing where it is not known yet."""
        known = with_context(state.tail_actions, actions, self.num_kept)
        if known is None:
            return None
        return torch.cat([known, known.new_zeros(len(known), num_frames, known.shape[2])], dim=1)
