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
from malt.rollouts.base import ActionPolicy, Segment, held_bytes
from malt.rollouts.malt import check_finite, with_context
from malt.rollouts.memoryless import BaselineState, Memoryless


@dataclass(frozen=True, kw_only=True)
class FullRollout(Memoryless):
    """Denoise the whole video behind the given frames; `whole` does it once, a stream anew for every segment.

    What a stream yields is the last segment of a video that was made for it: that is what one second more costs. So a longer
    video does not begin with the shorter one, and there is no going on from `progress` but by making all again. Only given
    frames and the actions so far are kept.
    """

    @property
    def num_kept(self) -> None:
        """All given frames."""
        return None

    def frames_ahead(self, progress: BaselineState) -> int:
        """How many frames the next segment has."""
        begins = progress.decoder_cache is None and not progress.num_made
        return self.base.codec.frames_of(self.segment_frames, first=begins)

    def make(self, progress: BaselineState, actions: Tensor | None) -> tuple[Tensor, BaselineState]:
        """Latents of the whole video so far, anew, with one segment more."""
        num_latents = (progress.num_made + 1) * self.segment_frames
        return self._together(progress, actions, num_latents), progress

    def finish(self, progress: BaselineState, latents: Tensor, actions: Tensor | None) -> tuple[Segment, BaselineState]:
        """Decode the whole video that has been made and hand back its last segment; given frames are as ever."""
        if not progress.num_made:
            return super().finish(progress, latents, actions)
        earlier, codec = (progress.num_made - 1) * self.segment_frames, self.base.codec
        frames, _ = codec.decode(latents, progress.decoder_cache)
        seen = codec.frames_of(earlier, first=progress.decoder_cache is None) if earlier else 0
        newest = frames[:, seen:].clamp(-1, 1)
        after = replace(
            progress,
            tail_actions=None if actions is None else self.keep(progress.tail_actions, actions),
            index=progress.index + 1,
            start=progress.start + newest.shape[1],
        )
        held = held_bytes((after.tail, after.tail_actions))
        return Segment(progress.index, progress.start, newest, latents[:, earlier:], held), after

    @torch.no_grad()
    def whole(self, num_frames: int, progress: BaselineState, driver: ActionPolicy | None = None) -> Segment:
        """A whole video of `num_frames` frames beyond the given ones, made once: its cost grows with its length squared.

        Raises:
            UsageError: where segments have been made already, or actions do not fit.
            MaltError: when the model's output is not finite.
        """
        if progress.num_made:
            raise UsageError("a whole video is made from its beginning; give a progress in which nothing is made yet")
        begins = progress.decoder_cache is None
        num_latents = next(n for n in count(1) if self.base.codec.frames_of(n, first=begins) >= num_frames)
        ahead = self.base.codec.frames_of(num_latents, first=begins)
        done = self.base.fold(None if driver is None else driver(None, ahead), num_latents, ahead)
        latents = self._together(progress, done, num_latents)
        check_finite(latents, progress.index)
        frames = self.base.codec.decode(latents, progress.decoder_cache)[0].clamp(-1, 1)
        check_finite(frames, progress.index)
        held = held_bytes((progress.tail, progress.tail_actions))
        return Segment(progress.index, progress.start, frames[:, :num_frames], latents, held)

    def absorb(
        self, progress: BaselineState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, BaselineState]]:
        """Take given frames as the beginning of the video.

        Raises:
            UsageError: where segments have been made already: there is no one video so far that could be gone on from.
        """
        if progress.num_made:
            raise UsageError("frames are given to a full video before any is made; begin anew")
        return super().absorb(progress, frames, actions)

    def _together(self, progress: BaselineState, actions: Tensor | None, num_latents: int) -> Tensor:
        """All latents beyond the given ones; `actions` are those since the last that are kept."""
        base, given = self.base, 0 if progress.tail is None else progress.tail.shape[1]
        context = max(given, base.transformer.context_frames)
        noise = self._noise(progress, context, num_latents)
        if actions is not None:
            acts = self.keep(progress.tail_actions, actions)
            actions = with_context(acts[:, :given], acts[:, given:], context)
        before = base.context(progress.tail, noise[:, :context])
        velocity = self.denoiser(actions, context)
        return sample_part(velocity, noise[:, context:], base.scheduler, base.num_steps, before)

    def _noise(self, progress: BaselineState, context: int, num_latents: int) -> Tensor:
        """Noise that is the same for the same segment, however long the video is."""
        first, size = progress.index - progress.num_made, self.segment_frames
        pieces = []
        for n in range(ceil(num_latents / size)):
            chance = self.chance(replace(progress, index=first + n))
            pieces.append(self.base.noise(chance, size if n else context + size))
        return torch.cat(pieces, dim=1)[:, : context + num_latents]
