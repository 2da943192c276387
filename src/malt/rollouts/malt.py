"""MALT's rollout: a segment is denoised with a memory; the finished segment renews the memory; repeat.

Everything that the next segment depends on is in a `RolloutState`, a value: keep it and go on later, or from there twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from diffusers import SchedulerMixin
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from malt.codecs.base import Codec
from malt.codecs.device import execution_device
from malt.diffusion.flow import interpolate
from malt.diffusion.guidance import Guidance
from malt.diffusion.partial import sample_part
from malt.diffusion.sampling import StepEnd
from malt.errors import MaltError, UsageError
from malt.memory.state import KVCache, Memory, in_half, move, num_bytes
from malt.models.transformer import MaltTransformer3DModel
from malt.rollouts.base import ActionPolicy, Segment, stream_segments
from malt.rollouts.noise import Seed, VideoGenerators, draw_noise, video_generators

Caption = tuple[Tensor, Tensor]  # encoder states (b, n, e) and which of them count (b, n)
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t (b, s, c, h, w), noise level of every frame (b, s)) -> velocity


@dataclass(frozen=True)
class RolloutState:
    """Where a video stands, a value: everything that the next segment depends on.

    seed: what chance starts from, for each video of the batch (see `chance`). tail: the latest latents, at least those of
    the last segment and of the next one's context; None before there are any. tail_actions: what was done in them, for
    models that take actions. The caches are the codec's.
    """

    seed: Seed
    memory: Memory
    tail: Float[Tensor, "b s c h w"] | None = None
    tail_actions: Float[Tensor, "b s a"] | None = None
    encoder_cache: Any = None
    decoder_cache: Any = None
    index: int = 0
    start: int = 0


@dataclass(frozen=True, kw_only=True)
class MaltRollout:
    """How a model makes a video: with which codec, sampler, guidance and captions.

    latent_size: (height, width) of the latents. memory_update_interval: segments between two memory writes.
    context_noise: noise level that the context is brought to, and told, before a segment is denoised behind it.
    on_step_end: called behind every denoising step of every segment; may change the latents.
    """

    transformer: MaltTransformer3DModel
    codec: Codec
    scheduler: SchedulerMixin
    caption: Caption
    uncaptioned: Caption
    latent_size: tuple[int, int]
    guidance: Guidance = field(default_factory=Guidance)
    num_steps: int = 12
    memory_update_interval: int = 1
    context_noise: float = 0.0
    on_step_end: StepEnd | None = None

    def __post_init__(self) -> None:
        """Refuse counts with which nothing can be made."""
        if self.num_steps < 1:
            raise UsageError(f"asked for {self.num_steps} denoising steps; give at least 1")
        if self.memory_update_interval < 1:
            raise UsageError(f"asked for a memory update every {self.memory_update_interval} segments; give at least 1")

    def begin(self, seed: Seed) -> RolloutState:
        """A video of which there is nothing yet."""
        return RolloutState(seed=seed, memory=self._nothing())

    def frames_ahead(self, progress: RolloutState) -> int:
        """How many frames the next segment has."""
        return self.codec.frames_of(self.transformer.segment_frames, first=progress.decoder_cache is None)

    def stream(self, num_frames: int, progress: RolloutState, driver: ActionPolicy | None = None) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `progress`; the last is cut.

        `driver` sees every segment before it says what is done in the next, for models that take actions.
        """
        return stream_segments(self, num_frames, progress, driver)

    @torch.no_grad()
    def advance(
        self, progress: RolloutState, actions: Float[Tensor, "b t a"] | None = None
    ) -> tuple[Segment, RolloutState]:
        """Make one segment, whole; `actions` says what is done in each of its frames, for models that take actions.

        Raises:
            UsageError: when actions are given to a model that takes none, are missing where it takes them, or do not fit.
            MaltError: when the model's output is not finite.
        """
        done = self.fold(actions, self.transformer.segment_frames, self.frames_ahead(progress))
        latents = self._denoise(progress, done)
        check_finite(latents, progress.index)
        segment, after = self._finish(progress, latents, done)
        check_finite(segment.frames, progress.index)
        return segment, after

    @torch.no_grad()
    def absorb(
        self, progress: RolloutState, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None = None
    ) -> Iterator[tuple[Segment, RolloutState]]:
        """Take given frames as what has been made so far: encode and remember them, segment after segment.

        Frames that do not fill a latent frame are left out, at the end. Whole segments are counted from the end, so that
        the memory's last segment ends where the video goes on; the frames before them are shown, not remembered. Yields
        every segment with the progress after it.
        """
        for latents, done, cache in self.encode(frames, actions, progress.encoder_cache):
            segment, progress = self._finish(replace(progress, encoder_cache=cache), latents, done)
            yield segment, progress

    @torch.no_grad()
    def retell(self, progress: RolloutState) -> RolloutState:
        """The same video with its tail remembered again under this rollout's caption, and nothing before it.

        So a new prompt takes over: what was remembered under the old one would bring back what that one named.
        """
        count, actions = self.transformer.segment_frames, progress.tail_actions
        if progress.tail is None or progress.tail.shape[1] < count:
            return progress
        told = last(progress.tail, count), None if actions is None else last(actions, count)
        return replace(progress, memory=self._remember(self._nothing(), *told))

    def encode(
        self, frames: Float[Tensor, "b t 3 H W"], actions: Float[Tensor, "b t a"] | None, cache: Any
    ) -> Iterator[tuple[Tensor, Tensor | None, Any]]:
        """Given frames segment after segment: their latents, what was done in them, and the encoder's cache after them."""
        lengths = self._segment_lengths(frames.shape[1], begins=cache is None)
        all_done = [None] * len(lengths) if actions is None else actions.split(lengths, dim=1)
        for piece, done in zip(frames.split(lengths, dim=1)[:-1], all_done[:-1], strict=True):
            latents, cache = self.codec.encode(piece, cache)
            yield latents, self.fold(done, latents.shape[1], piece.shape[1]), cache

    def _segment_lengths(self, num_frames: int, begins: bool) -> list[int]:
        """Frames in each segment of `num_frames` given ones, and then those that are left out."""
        codec, segment = self.codec, self.transformer.segment_frames
        num_latents = max(0, 1 + (num_frames - codec.frames_of(1, first=begins)) // codec.time_compression)
        ends = range(num_latents % segment or segment, num_latents + 1, segment)
        starts = [0] + [codec.frames_of(end, first=begins) for end in ends]
        return [end - start for start, end in pairwise([*starts, num_frames])]

    @property
    def device(self) -> torch.device:
        """Where the transformer computes."""
        return execution_device(self.transformer)

    @property
    def batch(self) -> int:
        """How many videos are made at once."""
        return self.caption[0].shape[0]

    def fold(self, actions: Tensor | None, num_latents: int, num_frames: int) -> Tensor | None:
        """What is done in every frame as what is done in every latent frame: that of its frames, side by side.

        Raises:
            UsageError: when actions are given to a model that takes none, are missing where it takes them, or do not fit.
        """
        width = self.transformer.config.action_dim
        if (actions is None) != (width is None):
            raise UsageError(
                "this model takes no actions" if width is None else "this model needs actions; give a driver"
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

    def _denoise(self, progress: RolloutState, actions: Tensor | None) -> Tensor:
        """Latents of the next segment, integrated from noise behind the context."""
        model = self.transformer
        count = model.context_frames
        noise = self.noise(self.chance(progress), count + model.segment_frames)
        context, level = self.context(progress.tail, noise[:, :count])
        done = with_context(progress.tail_actions, actions, count)
        velocity = self.denoiser(progress.memory, done, num_context_frames=count)
        before = context, level
        return sample_part(
            velocity, noise[:, count:], self.scheduler, self.num_steps, before, on_step_end=self.on_step_end
        )

    def chance(self, progress: RolloutState) -> VideoGenerators:
        """The source of all noise that is drawn for the next segment."""
        return video_generators(progress.seed, self.batch, progress.index)

    def noise(self, chance: VideoGenerators, num_latents: int) -> Float[Tensor, "b s c h w"]:
        """So many latent frames of noise, drawn on the CPU: the same on every device."""
        size = (self.codec.latent_channels, *self.latent_size)
        return draw_noise(chance, num_latents, *size).to(self.device)

    def denoiser(self, memory: Memory, actions: Tensor | None, num_context_frames: int) -> Denoiser:
        """The guided velocity of latents at the noise levels of their frames, beside a memory and what is done in them."""
        model, guided = self.transformer, self.guidance.prepare(memory, self.caption, self.uncaptioned)
        cache: KVCache | None = None  # what is attended to is the same in every step, and made in the first

        def predict(latents: Tensor, levels: Tensor, memory: Memory, caption: Caption) -> Tensor:
            nonlocal cache
            acts = None if actions is None else repeat(actions, "b s a -> (k b) s a", k=len(latents) // len(actions))
            made = model(latents, levels, memory, *caption, acts, num_context_frames, cache=cache, update_memory=False)
            cache = made.cache
            return made.velocity.float()

        return partial(guided.velocity, predict)

    def context(self, tail: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """As many latent frames before a segment as there is noise, and their levels; where there are none, noise at 1."""
        known = noise[:, :0] if tail is None else last(tail, noise.shape[1])
        missing = noise.shape[1] - known.shape[1]
        level = torch.tensor([1.0] * missing + [self.context_noise] * known.shape[1], device=noise.device)
        level = repeat(level, "s -> b s", b=self.batch)
        return interpolate(torch.cat([noise[:, :missing], known], dim=1), noise, level), level

    def _nothing(self) -> Memory:
        return move(in_half(self.transformer.empty_memory(self.batch, *self.latent_size)), self.device)

    def _remember(self, memory: Memory, latents: Tensor, actions: Tensor | None) -> Memory:
        clean = torch.zeros(latents.shape[:2], device=latents.device)
        return in_half(self.transformer(latents, clean, memory, *self.caption, actions).memory)

    def _tail(self, before: Tensor | None, latest: Tensor) -> Tensor:
        seen = latest if before is None else torch.cat([before, latest], dim=1)
        return last(seen, max(self.transformer.segment_frames, self.transformer.context_frames))

    def _finish(self, progress: RolloutState, latents: Tensor, actions: Tensor | None) -> tuple[Segment, RolloutState]:
        """Decode a finished segment and, when it is due and whole, remember it."""
        frames, cache = self.codec.decode(latents, progress.decoder_cache)
        memory = progress.memory
        if latents.shape[1] == self.transformer.segment_frames and progress.index % self.memory_update_interval == 0:
            memory = self._remember(memory, latents, actions)
        after = replace(
            progress,
            memory=memory,
            tail=self._tail(progress.tail, latents),
            tail_actions=None if actions is None else self._tail(progress.tail_actions, actions),
            decoder_cache=cache,
            index=progress.index + 1,
            start=progress.start + frames.shape[1],
        )
        return Segment(progress.index, progress.start, frames.clamp(-1, 1), latents, num_bytes(memory)), after


def with_context(past: Tensor | None, actions: Tensor | None, count: int) -> Tensor | None:
    """A segment's actions behind those of its context, `count` latent frames; where there is none, nothing was done."""
    if actions is None:
        return None
    known = actions[:, :0] if past is None else last(past, count)
    missing = actions.new_zeros(len(actions), count - known.shape[1], actions.shape[2])
    return torch.cat([missing, known, actions], dim=1)


def last(frames: Tensor, count: int) -> Tensor:
    """The last `count` latent frames, or all where there are fewer."""
    return frames[:, max(0, frames.shape[1] - count) :]


def check_finite(output: Tensor, index: int) -> None:
    """Refuse to go on from what is not finite.

    Raises:
        MaltError: for such output of segment `index`.
    """
    if not torch.isfinite(output).all():
        raise MaltError(
            f"the model's output in segment {index} is not finite: its weights are damaged, or the guidance scale is too "
            "high; try another checkpoint or a guidance scale near 2"
        )
