"""`full`: all frames of a video are denoised together; for a longer video all are denoised again.

Source: the standard video diffusion transformer, as in Latte (arXiv:2401.03048) and VDT (arXiv:2305.13311), whose attention
runs over the whole video. Ours: one network for every length, which its relative positions make possible.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.partial import sample_part
from malt.errors import UsageError
from malt.rollouts.base import ActionPolicy, RolloutState, Segment, held_bytes
from malt.rollouts.context_frames import with_context
from malt.rollouts.malt import check_finite
from malt.rollouts.memoryless import Memoryless


@dataclass(frozen=True, kw_only=True)
class FullRollout(Memoryless):
    """Denoise the whole video behind the given frames; `whole` does it once, a stream anew for every segment.

    What a stream yields is the last segment of a video that was made for it: that is what one second more costs. So a longer
    video does not begin with the shorter one, and there is no going on from `state` but by making all again. Only given
    frames and the actions so far are kept.
    """

    @property
    def num_kept(self) -> None:
        """All given frames."""
        return None

    def frames_ahead(self, state: RolloutState) -> int:
        """How many frames the next segment has."""
        begins = state.decoder_cache is None and not state.num_made
        return self.base.codec.frames_of(self.segment_frames, first=begins)

    def make(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, RolloutState]:
        """Latents of the whole video so far, anew, with one segment more."""
        num_latents = (state.num_made + 1) * self.segment_frames
        return self._together(state, actions, num_latents), state

    def finish(self, state: RolloutState, latents: Tensor, actions: Tensor | None) -> tuple[Segment, RolloutState]:
        """Decode the whole video that has been made and hand back its last segment; given frames are as ever."""
        if not state.num_made:
            return super().finish(state, latents, actions)
        earlier, codec = (state.num_made - 1) * self.segment_frames, self.base.codec
        frames, _ = codec.decode(latents, state.decoder_cache)
        seen = codec.frames_of(earlier, first=state.decoder_cache is None) if earlier else 0
        newest = frames[:, seen:].clamp(-1, 1)
        after = replace(
            state,
            tail_actions=None if actions is None else self.keep(state.tail_actions, actions),
            index=state.index + 1,
            start=state.start + newest.shape[1],
        )
        held = held_bytes((after.tail, after.tail_actions))
        return Segment(state.index, state.start, newest, latents[:, earlier:], held), after

    @torch.no_grad()
    def whole(self, num_frames: int, state: RolloutState, policy: ActionPolicy | None = None) -> Segment:
        """A whole video of `num_frames` frames beyond the given ones, made once: its cost grows with its length squared.

        Raises:
            UsageError: where segments have been made already, or actions do not fit.
            MaltError: when the model's output is not finite.
        """
        if state.num_made:
            raise UsageError("a whole video is made from its beginning; give a state in which nothing is made yet")
        begins = state.decoder_cache is None
        num_latents = next(n for n in count(1) if self.base.codec.frames_of(n, first=begins) >= num_frames)
        ahead = self.base.codec.frames_of(num_latents, first=begins)
        done = self.base.pack_actions(None if policy is None else policy(None, ahead), num_latents, ahead)
        latents = self._together(state, done, num_latents)
        check_finite(state.index, latents)
        frames = self.base.codec.decode(latents, state.decoder_cache)[0].clamp(-1, 1)
        check_finite(state.index, frames)
        held = held_bytes((state.tail, state.tail_actions))
        return Segment(state.index, state.start, frames[:, :num_frames], latents, held)

    def prefill(
        self, state: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as the beginning of the video.

        Raises:
            UsageError: where segments have been made already: there is no one video so far that could be gone on from.
        """
        if state.num_made:
            raise UsageError("frames are given to a full video before any is made; begin anew")
        return super().prefill(state, frames, actions)

    def _together(self, state: RolloutState, actions: Tensor | None, num_latents: int) -> Tensor:
        """All latents beyond the given ones; `actions` are those since the last that are kept."""
        base, given = self.base, 0 if state.tail is None else state.tail.shape[1]
        context = base.num_context(state.tail, max(given, base.transformer.context_frames))
        noise = self._noise(state, context, num_latents)
        if actions is not None:
            acts = self.keep(state.tail_actions, actions)
            actions = with_context(acts[:, :given], acts[:, given:], context)
        before = base.context(state.tail, noise[:, :context])
        velocity = self.velocity(actions, context)
        return sample_part(velocity, noise[:, context:], base.scheduler, base.num_steps, before)

    def _noise(self, state: RolloutState, context: int, num_latents: int) -> Tensor:
        """Noise that is the same for the same segment, however long the video is."""
        first, size = state.index - state.num_made, self.segment_frames
        pieces = []
        for n in range(ceil(num_latents / size)):
            generators = self.base.generators(replace(state, index=first + n))
            pieces.append(generators.draw(size if n else context + size))
        return torch.cat(pieces, dim=1)[:, : context + num_latents]
