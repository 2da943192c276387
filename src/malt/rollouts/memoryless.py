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

from malt.diffusion.partial import FrameVelocity
from malt.memory.state import Memory, move, without_places
from malt.out_of_memory import SEGMENT, enough_memory_for
from malt.rollouts.base import ActionPolicy, RolloutState, Segment, held_bytes, stream_segments
from malt.rollouts.context_frames import last
from malt.rollouts.malt import MaltRollout, check_finite
from malt.rollouts.noise import Seed


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
    def make(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, RolloutState]:
        """Latents of the next segment, and the state with what has been begun beyond them."""

    def begin(self, seed: Seed) -> RolloutState:
        """A video of which there is nothing yet."""
        return RolloutState(seed=seed, memory=())

    def frames_ahead(self, state: RolloutState) -> int:
        """How many frames the next segment has."""
        return self.base.codec.frames_of(self.segment_frames, first=state.decoder_cache is None)

    def stream(self, num_frames: int, state: RolloutState, policy: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `state`; the last is cut."""
        return stream_segments(self, num_frames, state, policy)

    @torch.no_grad()
    def advance(
        self, state: RolloutState, actions: Float[Tensor, "b t a"] | None = None
    ) -> tuple[Segment, RolloutState]:
        """Make one segment, whole; `actions` says what is done in each of its frames, for models that take actions.

        Raises:
            UsageError: when actions are given to a model that takes none, are missing where it takes them, or do not fit.
            MaltError: when the model's output is not finite.
        """
        done = self.base.pack_actions(actions, self.segment_frames, self.frames_ahead(state))
        with enough_memory_for(SEGMENT):
            latents, begun = self.make(state, done)
            check_finite(state.index, latents)
            segment, after = self.finish(replace(begun, num_made=state.num_made + 1), latents, done)
        check_finite(state.index, segment.frames)
        return segment, after

    @torch.no_grad()
    def prefill(
        self, state: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as what has been made so far, segment after segment; what was begun beyond it is dropped.

        Frames that do not fill a latent frame are left out, at the end. Whole segments are counted from the end.
        """
        for latents, done, cache in self.base.encode(frames, actions, state.encoder_cache):
            here = replace(state, encoder_cache=cache, ahead=(), num_made=0)
            segment, state = self.finish(here, latents, done)
            yield segment, state

    def rebuild_memory(self, state: RolloutState) -> RolloutState:
        """The same video: nothing is remembered, so there is nothing to rebuild."""
        return state

    def velocity(self, actions: Tensor | None, num_context_frames: int) -> FrameVelocity:
        """The velocity without a memory, in which guidance towards the memory has nothing to weigh and costs no pass."""
        base, unguided = self.base, replace(self.base.guidance, memory=1.0)
        guided = unguided.prepare(self._nothing(), base.caption, base.uncaptioned)
        return base.velocity(guided, actions, num_context_frames)

    def _nothing(self) -> Memory:
        """An empty memory. Places that nothing will fill cost attention, so they are left out."""
        empty = self.base.transformer.empty_memory(self.base.batch, *self.base.latent_size)
        return move(without_places(empty), self.base.device)

    def keep(self, before: Tensor | None, latest: Tensor) -> Tensor:
        """Of latents or actions (b, s, ...) those that are looked back at."""
        seen = latest if before is None else torch.cat([before, latest], dim=1)
        return seen if self.num_kept is None else last(seen, self.num_kept)

    def finish(self, state: RolloutState, latents: Tensor, actions: Tensor | None) -> tuple[Segment, RolloutState]:
        """Decode a finished segment and keep what is looked back at."""
        frames, cache = self.base.codec.decode(latents, state.decoder_cache)
        after = replace(
            state,
            tail=self.keep(state.tail, latents),
            tail_actions=None if actions is None else self.keep(state.tail_actions, actions),
            decoder_cache=cache,
            index=state.index + 1,
            start=state.start + frames.shape[1],
        )
        kept = held_bytes((after.tail, after.tail_actions, after.ahead))
        return Segment(state.index, state.start, frames.clamp(-1, 1), latents, kept), after
