"""`sliding_window`: each segment is denoised behind the last latent frames of the video, and nothing else is known.

Source: the usual way to make a long video of short clips, as in Video Diffusion Models (arXiv:2204.03458) and MCVD
(arXiv:2205.09853). Ours: what is known stands in the sequence at a noise level of its own, as MALT's context does.
"""

from dataclasses import dataclass

from torch import Tensor

from malt.diffusion.partial import sample_part
from malt.errors import UsageError
from malt.rollouts.base import RolloutState
from malt.rollouts.context_frames import with_context
from malt.rollouts.memoryless import Memoryless


@dataclass(frozen=True, kw_only=True)
class SlidingWindowRollout(Memoryless):
    """Condition on the last `window` latent frames.

    window: None for the context that a model without memory was trained with; for a model with a memory, for its context and
    one segment more: as many tokens in view as MALT has with its recurrent memory.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        """Refuse a window that is none."""
        if self.window is not None and self.window < 1:
            raise UsageError(f"asked for a window of {self.window} latent frames; give at least 1")

    @property
    def num_kept(self) -> int:
        """The window's latent frames."""
        if self.window is not None:
            return self.window
        model = self.base.transformer
        return model.context_frames + (model.segment_frames if model.remembers else 0)

    def make(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, RolloutState]:
        """Latents of the next segment behind those in the window: fewer where the video is still short."""
        base, known = self.base, 0 if state.tail is None else state.tail.shape[1]
        count = base.num_context(state.tail, min(self.num_kept, max(known, base.transformer.context_frames)))
        noise = base.generators(state).draw(count + self.segment_frames)
        velocity = self.velocity(with_context(state.tail_actions, actions, count), count)
        before = base.context(state.tail, noise[:, :count])
        return sample_part(velocity, noise[:, count:], base.scheduler, base.num_steps, before), state
