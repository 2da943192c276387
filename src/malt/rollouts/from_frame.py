"""A base that learned to go on from an image: every segment is its own clip from the last frame of the one before."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.partial import sample_part
from malt.errors import UsageError
from malt.rollouts.base import RolloutState, Segment
from malt.rollouts.denoiser import GuidedVelocity
from malt.rollouts.malt import MaltRollout

# (frame (b, 1, 3, H, W), latent frames of the clip that begins with it) -> conditions by name, batch first
FromFrame = Callable[[Tensor, int], Mapping[str, Tensor]]
KNOWN = "known_latents"  # the condition that has a latent frame for each of the clip


@dataclass(frozen=True, kw_only=True)
class FromFrameRollout(MaltRollout):
    """Make clips that begin with the frame shown last, of which that frame is left out.

    A memory sees what is left, told of the frame before it as the clip was; the clip's first latent frame is to it the last
    of what it remembers.

    from_frame: what the base is conditioned on beside the caption, of a frame.
    """

    from_frame: FromFrame

    @property
    def can_join(self) -> bool:
        """Whether videos of several may be made in one pass."""
        return False

    @torch.no_grad()
    def prefill(
        self, state: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as what has been made so far; the next segment goes on from the last of them, as it was given."""
        first = state.start
        for segment, after in super().prefill(state, frames, actions):
            last = after.start - first
            yield segment, replace(after, shown=frames[:, last - 1 : last])

    @torch.no_grad()
    def rebuild_memory(self, state: RolloutState) -> RolloutState:
        """As any other, told of the first frame of what is remembered again."""
        if state.tail is None:
            return state
        return MaltRollout.rebuild_memory(self._told(None, state.tail), state)

    def _denoise(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, GuidedVelocity]:
        """Latents of the next segment: those of a clip from the last frame, but for its first."""
        if state.shown is None:
            raise UsageError("this base makes video from an image; give one with --image, or a video with --video")
        noise = self.generators(state).draw(1 + self.latents_ahead(state))
        added = self.from_frame(state.shown.to(noise.device), noise.shape[1])
        caption, uncaptioned = (_with(each, added) for each in (self.caption, self.uncaptioned))
        guided = self.guidance.prepare(state.memory, caption, uncaptioned)
        nothing = noise[:, :0], noise.new_zeros(len(noise), 0)
        remembers_at = self._remembers_at(state, noise[:, 1:])
        velocity = self.velocity(guided, actions, int(self.transformer.remembers), remembers_at)
        clip = sample_part(velocity, noise, self.scheduler, self.num_steps, nothing, on_step_end=self.on_step_end)
        return clip[:, 1:], velocity

    def _finish(
        self, state: RolloutState, latents: Tensor, actions: Tensor | None, velocity: GuidedVelocity | None = None
    ) -> tuple[Segment, RolloutState]:
        told = self._told(state.shown, latents) if self._is_due(state.index, latents) else self
        segment, after = MaltRollout._finish(told, state, latents, actions, velocity)
        return segment, replace(after, shown=segment.frames[:, -1:])

    def _told(self, shown: Tensor | None, latents: Tensor) -> "FromFrameRollout":
        """The same, whose captions say of these latents what their clip was told of them; None where nothing was shown."""
        frame = self.codec.decode(latents[:, :1])[0][:, :1] if shown is None else shown
        added = dict(self.from_frame(frame.to(latents.device), 1 + self.transformer.segment_frames))
        added |= {name: known[:, 1:] for name, known in added.items() if name == KNOWN}
        return replace(self, caption=_with(self.caption, added))


def _with(caption: Caption, added: Mapping[str, Tensor]) -> Caption:
    return Caption(caption.states, caption.mask, {**caption.added, **added})
