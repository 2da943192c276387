"""MALT's rollout: a segment is denoised with a memory; the finished segment renews the memory; repeat.

Everything that the next segment depends on is in a `RolloutState`, a value: keep it and go on later, or from there twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.codecs.base import Codec, most_latents
from malt.codecs.device import execution_device
from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guidance, Guided
from malt.diffusion.partial import KnownAt, KnownFrames, sample_part
from malt.diffusion.sampling import Scheduler, StepEnd, noise_levels
from malt.errors import MaltError, UsageError
from malt.memory.protocol import SteeredMemory
from malt.memory.state import KVCache, Memory, in_half, move, num_bytes
from malt.models.video_model import VideoModel
from malt.out_of_memory import SEGMENT, enough_memory_for
from malt.rollouts.base import ActionPolicy, RolloutState, Segment, stream_segments
from malt.rollouts.context_frames import context_alongside, context_before, last, with_context
from malt.rollouts.denoiser import GuidedVelocity
from malt.rollouts.noise import Seed, VideoGenerators


@dataclass(frozen=True, kw_only=True)
class MaltRollout:
    """How a model makes a video: with which codec, sampler, guidance and captions.

    latent_size: (height, width) of the latents. memory_update_interval: segments between two memory writes.
    context_noise: noise level that the context is brought to, and told, before a segment is denoised behind it.
    context_follows: whether the context has instead, at every step, the noise level of the segment. begins_alone: whether a
    video begins with nothing before it, as a pretrained base wants it, not behind noise; without a memory, its first segment
    is then as long as a later one with its context.
    remembers_in_last_step: whether the memory is written from what the last denoising step sees, a little noise with it, and
    not by a pass of its own over the finished segment.
    on_step_end: called behind every denoising step of every segment; may change the latents.
    """

    transformer: VideoModel
    codec: Codec
    scheduler: Scheduler
    caption: Caption
    uncaptioned: Caption
    latent_size: tuple[int, int]
    guidance: Guidance = field(default_factory=Guidance)
    num_steps: int = 12
    memory_update_interval: int = 1
    context_noise: float = 0.0
    context_follows: bool = False
    begins_alone: bool = False
    remembers_in_last_step: bool = False
    on_step_end: StepEnd | None = None

    def __post_init__(self) -> None:
        """Refuse counts with which nothing can be made."""
        if self.num_steps < 1:
            raise UsageError(f"asked for {self.num_steps} denoising steps; give at least 1")
        if self.memory_update_interval < 1:
            raise UsageError(f"asked for a memory update every {self.memory_update_interval} segments; give at least 1")

    @property
    def can_join(self) -> bool:
        """Whether videos of several may be made in one pass."""
        return True

    def joined(self, rollouts: "Sequence[MaltRollout]") -> "MaltRollout":
        """The rollout of the videos of several, this among them, in one pass."""
        caption = Caption.join([each.caption for each in rollouts])
        return replace(self, caption=caption, uncaptioned=Caption.join([each.uncaptioned for each in rollouts]))

    def begin(self, seed: Seed) -> RolloutState:
        """A video of which there is nothing yet."""
        return RolloutState(seed=seed, memory=self._nothing())

    def frames_ahead(self, state: RolloutState) -> int:
        """How many frames the next segment has."""
        return self.codec.frames_of(self.latents_ahead(state), first=state.decoder_cache is None)

    def latents_ahead(self, state: RolloutState) -> int:
        """How many latent frames the next segment has."""
        model = self.transformer
        whole = self.begins_alone and state.tail is None and not model.remembers
        return model.segment_frames + (model.context_frames if whole else 0)

    def stream(self, num_frames: int, state: RolloutState, policy: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `state`; the last is cut.

        `policy` sees every segment before it says what is done in the next, for models that take actions.
        """
        return stream_segments(self, num_frames, state, policy)

    @torch.no_grad()
    def advance(
        self, state: RolloutState, actions: Float[Tensor, "b t a"] | None = None
    ) -> tuple[Segment, RolloutState]:
        """Make one segment, whole; `actions` says what is done in each of its frames, for models that take actions.

        Raises:
            UsageError: when actions are given to a model that takes none, are missing where it takes them, or do not fit.
            MaltError: when the model's output is not finite, or memory runs out.
        """
        done = self.pack_actions(actions, self.latents_ahead(state), self.frames_ahead(state))
        with enough_memory_for(SEGMENT):
            latents, velocity = self._denoise(state, done)
            return self._finish(state, latents, done, velocity)

    @torch.no_grad()
    def prefill(
        self, state: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as what has been made so far: encode and remember them, segment after segment.

        Frames that do not fill a latent frame are left out, at the end. Whole segments are counted from the end, so that
        the memory's last segment ends where the video goes on; the frames before them are shown, not remembered. Yields
        every segment with the state after it.
        """
        for latents, done, cache in self.encode(frames, actions, state.encoder_cache):
            with enough_memory_for(SEGMENT):
                segment, state = self._finish(replace(state, encoder_cache=cache), latents, done)
            yield segment, state

    @torch.no_grad()
    def rebuild_memory(self, state: RolloutState) -> RolloutState:
        """The same video with its tail remembered again under this rollout's caption, and nothing before it.

        So a new prompt takes over: what was remembered under the old one would bring back what that one named. A memory that
        the prompt steers is kept: it shows what was remembered under this one.
        """
        count, actions = self.transformer.segment_frames, state.tail_actions
        if state.tail is None or state.tail.shape[1] < count:
            return state
        seen = last(state.tail, count), None if actions is None else last(actions, count)
        is_steered = any(isinstance(memory, SteeredMemory) for memory in self.transformer.memory_modules())
        return replace(state, memory=self._remember(state.memory if is_steered else self._nothing(), *seen))

    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None, cache: object
    ) -> Iterator[tuple[Tensor, Tensor | None, object]]:
        """Given frames segment after segment: their latents, what was done in them, and the encoder's cache after them."""
        lengths = self._segment_lengths(frames.shape[1], begins=cache is None)
        all_done = [None] * len(lengths) if actions is None else torch.split(actions, lengths, dim=1)
        for piece, done in zip(torch.split(frames, lengths, dim=1)[:-1], all_done[:-1], strict=True):
            with enough_memory_for(SEGMENT):
                latents, cache = self.codec.encode(piece, cache)
            yield latents, self.pack_actions(done, latents.shape[1], piece.shape[1]), cache

    def _segment_lengths(self, num_frames: int, begins: bool) -> list[int]:
        """Frames in each segment of `num_frames` given ones, and then those that are left out."""
        codec, segment = self.codec, self.transformer.segment_frames
        num_latents = most_latents(codec, num_frames, first=begins)
        ends = range(num_latents % segment or segment, num_latents + 1, segment)
        starts = [0] + [codec.frames_of(end, first=begins) for end in ends]
        return [end - start for start, end in pairwise([*starts, num_frames])]

    @property
    def device(self) -> torch.device:
        """Where the transformer computes; an offloaded one keeps its weights elsewhere."""
        return execution_device(self.transformer)

    @property
    def batch(self) -> int:
        """How many videos are made at once."""
        return len(self.caption)

    def pack_actions(self, actions: Tensor | None, num_latents: int, num_frames: int) -> Tensor | None:
        """What is done in every frame as what is done in every latent frame: that of its frames, side by side.

        Raises:
            UsageError: when actions are given to a model that takes none, are missing where it takes them, or do not fit.
        """
        width = self.transformer.action_dim
        if (actions is None) != (width is None):
            raise UsageError(
                "this model takes no actions" if width is None else "this model needs actions; give a policy"
            )
        if actions is None or width is None:
            return None
        each = width // self.codec.time_compression
        if actions.shape != (self.batch, num_frames, each):
            raise UsageError(
                f"got actions of shape {tuple(actions.shape)}; give {each} numbers for each of {num_frames} frames"
            )
        missing = (
            num_latents * self.codec.time_compression - num_frames
        )  # a codec's first latent frame may stand for fewer
        padded = torch.cat([actions[:, :1].expand(-1, missing, -1), actions], dim=1)
        return rearrange(padded, "b (s t) a -> b s (t a)", s=num_latents).to(self.device)

    def _denoise(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, GuidedVelocity]:
        """Latents of the next segment, integrated from noise behind the context, and the velocity that led there."""
        count = self.num_context(state.tail, self.transformer.context_frames)
        noise = self.generators(state).draw(count + self.latents_ahead(state))
        done = with_context(state.tail_actions, actions, count)
        before = self.context(state.tail, noise[:, :count])
        guided = self.guidance.prepare(state.memory, self.caption, self.uncaptioned)
        velocity = self.velocity(guided, done, count, self._remembers_at(state, noise[:, count:]))
        latents = sample_part(
            velocity, noise[:, count:], self.scheduler, self.num_steps, before, on_step_end=self.on_step_end
        )
        return latents, velocity

    def num_context(self, tail: Tensor | None, most: int) -> int:
        """How many latent frames stand before those that are made: `most`, but where a video begins alone those there are."""
        return min(most, 0 if tail is None else tail.shape[1]) if self.begins_alone else most

    def context(self, tail: Tensor | None, noise: Tensor) -> KnownFrames | KnownAt:
        """As many latent frames before those that are made as there is noise."""
        return (
            context_alongside(tail, noise) if self.context_follows else context_before(tail, noise, self.context_noise)
        )

    def velocity(
        self, guided: Guided, actions: Tensor | None, num_context_frames: int, remembers_at: float | None = None
    ) -> GuidedVelocity:
        """The model's velocity; one that knows no level of its own for the context is not told that there is any."""
        known = 0 if self.context_follows else num_context_frames
        return GuidedVelocity(self.transformer, guided, actions, known, remembers_at)

    def _remembers_at(self, state: RolloutState, latents: Tensor) -> float | None:
        """The noise level of the step that also writes the memory; None where none does."""
        if not self.remembers_in_last_step or not self._is_due(state.index, latents):
            return None
        return float(noise_levels(self.scheduler, self.num_steps)[-2])

    def generators(self, state: RolloutState) -> VideoGenerators:
        """The source of all noise that is drawn for the next segment."""
        size = (self.codec.latent_channels, *self.latent_size)
        return VideoGenerators.of(state.seed, self.batch, state.index, size, self.device)

    def _nothing(self) -> Memory:
        return move(in_half(self.transformer.empty_memory(self.batch, *self.latent_size)), self.device)

    def _remember(
        self, memory: Memory, latents: Tensor, actions: Tensor | None, cache: KVCache | None = None
    ) -> Memory:
        clean, told = torch.zeros(latents.shape[:2], device=latents.device), self.caption.arguments
        return in_half(self.transformer(latents, clean, memory, **told, actions=actions, cache=cache).memory)

    def _is_due(self, index: int, latents: Tensor) -> bool:
        model = self.transformer
        whole = latents.shape[1] == model.segment_frames
        return model.remembers and whole and index % self.memory_update_interval == 0

    def _tail(self, before: Tensor | None, latest: Tensor) -> Tensor:
        seen = latest if before is None else torch.cat([before, latest], dim=1)
        return last(seen, max(self.transformer.segment_frames, self.transformer.context_frames))

    def _finish(
        self, state: RolloutState, latents: Tensor, actions: Tensor | None, velocity: GuidedVelocity | None = None
    ) -> tuple[Segment, RolloutState]:
        """Decode a finished segment and, when it is due and whole, remember it, with what its steps made of the memory.

        velocity: that led there; None for a given segment.
        """
        frames, decoder_cache = self.codec.decode(latents, state.decoder_cache)
        check_finite(state.index, latents, frames)
        memory = state.memory
        if self._is_due(state.index, latents):
            known = None if velocity is None else velocity.memory
            cache = None if velocity is None else velocity.cache
            memory = self._remember(memory, latents, actions, cache) if known is None else in_half(known)
        after = replace(
            state,
            memory=memory,
            tail=self._tail(state.tail, latents),
            tail_actions=None if actions is None else self._tail(state.tail_actions, actions),
            decoder_cache=decoder_cache,
            index=state.index + 1,
            start=state.start + frames.shape[1],
        )
        return Segment(state.index, state.start, frames.clamp(-1, 1), latents, num_bytes(memory)), after


def check_finite(index: int, *outputs: Tensor) -> None:
    """Refuse to go on from what is not finite.

    Raises:
        MaltError: for such output of segment `index`.
    """
    if not all(bool(torch.isfinite(extreme)) for output in outputs for extreme in output.aminmax()):
        raise MaltError(
            f"the model's output in segment {index} is not finite: its weights are damaged, or the guidance scale is too "
            "high; try another checkpoint or a guidance scale near 2"
        )
