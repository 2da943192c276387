"""What the ways without a memory share: they keep latents, make the next segment from them, decode it and go on.

Everything else is that of the MALT rollout they are measured against: network, codec, sampler, steps, guidance, captions.
Ours: the paper's own baselines are not public, so each way is written down here as we read its source.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from malt.memory.state import Memory, move, without_places
from malt.rollouts.base import ActionPolicy, Segment, held_bytes, stream_segments
from malt.rollouts.malt import Denoiser, MaltRollout, RolloutState, check_finite, last
from malt.rollouts.noise import Seed, VideoGenerators


@dataclass(frozen=True)
class BaselineState(RolloutState):
    """Where a video without memory stands, a value; `tail` holds the latents that its way looks back at.

    ahead: latents that have been begun beyond what is finished, for ways that look ahead. num_made: segments made since
    frames were last given.
    """

    tail_actions: Float[Tensor, "b kept a"] | None = None  # `full` keeps those of all that is made
    ahead: tuple[Float[Tensor, "b _ c h w"], ...] = ()
    num_made: int = 0


@dataclass(frozen=True, kw_only=True)
class Memoryless(ABC):
    """A rollout without memory, by the network, codec, sampler and guidance of `base`; each way says `make` and `num_kept`."""

    base: MaltRollout

    @property
    def segment_frames(self) -> int:
        """Latent frames in a segment."""
        return self.base.transformer.segment_frames

    @property
    @abstractmethod
    def num_kept(self) -> int | None:
        """Finished latent frames that are looked back at; None for all."""

    @abstractmethod
    def make(self, progress: BaselineState, actions: Tensor | None) -> tuple[Tensor, BaselineState]:
        """Latents of the next segment, and the progress with what has been begun beyond them."""

    def begin(self, seed: Seed) -> BaselineState:
        """A video of which there is nothing yet."""
        return BaselineState(seed=seed, memory=())

    def frames_ahead(self, progress: BaselineState) -> int:
        """How many frames the next segment has."""
        return self.base.codec.frames_of(self.segment_frames, first=progress.decoder_cache is None)

    def stream(self, num_frames: int, progress: BaselineState, driver: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `progress`; the last is cut."""
        return stream_segments(self, num_frames, progress, driver)

    @torch.no_grad()
    def advance(
        self, progress: BaselineState, actions: Float[Tensor, "b t a"] | None = None
    ) -> tuple[Segment, BaselineState]:
        """Make one segment, whole; `actions` says what is done in each of its frames, for models that take actions.

        Raises:
            UsageError: when actions are given to a model that takes none, are missing where it takes them, or do not fit.
            MaltError: when the model's output is not finite.
        """
        done = self.base.fold(actions, self.segment_frames, self.frames_ahead(progress))
        latents, begun = self.make(progress, done)
        check_finite(latents, progress.index)
        segment, after = self.finish(replace(begun, num_made=progress.num_made + 1), latents, done)
        check_finite(segment.frames, progress.index)
        return segment, after

    @torch.no_grad()
    def absorb(
        self, progress: BaselineState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, BaselineState]]:
        """Take given frames as what has been made so far, segment after segment; what was begun beyond it is dropped.

        Frames that do not fill a latent frame are left out, at the end. Whole segments are counted from the end.
        """
        for latents, done, cache in self.base.encode(frames, actions, progress.encoder_cache):
            here = replace(progress, encoder_cache=cache, ahead=(), num_made=0)
            segment, progress = self.finish(here, latents, done)
            yield segment, progress

    def retell(self, progress: BaselineState) -> BaselineState:
        """The same video: nothing is remembered, so nothing is to be told again."""
        return progress

    def denoiser(self, actions: Tensor | None, num_context_frames: int) -> Denoiser:
        """The velocity without a memory, in which guidance towards the memory has nothing to weigh and costs no pass."""
        unguided = replace(self.base.guidance, memory=1.0)
        return replace(self.base, guidance=unguided).denoiser(self._nothing(), actions, num_context_frames)

    def chance(self, progress: BaselineState) -> VideoGenerators:
        """The source of all noise that is drawn for the next segment."""
        return self.base.chance(progress)

    def _nothing(self) -> Memory:
        """An empty memory. Places that nothing will fill cost attention, so they are left out."""
        empty = self.base.transformer.empty_memory(self.base.batch, *self.base.latent_size)
        return move(without_places(empty), self.base.device)

    def keep(self, before: Tensor | None, latest: Tensor) -> Tensor:
        """Of latents or actions (b, s, ...) those that are looked back at."""
        seen = latest if before is None else torch.cat([before, latest], dim=1)
        return seen if self.num_kept is None else last(seen, self.num_kept)

    def finish(self, progress: BaselineState, latents: Tensor, actions: Tensor | None) -> tuple[Segment, BaselineState]:
        """Decode a finished segment and keep what is looked back at."""
        frames, cache = self.base.codec.decode(latents, progress.decoder_cache)
        after = replace(
            progress,
            tail=self.keep(progress.tail, latents),
            tail_actions=None if actions is None else self.keep(progress.tail_actions, actions),
            decoder_cache=cache,
            index=progress.index + 1,
            start=progress.start + frames.shape[1],
        )
        kept = held_bytes((after.tail, after.tail_actions, after.ahead))
        return Segment(progress.index, progress.start, frames.clamp(-1, 1), latents, kept), after
