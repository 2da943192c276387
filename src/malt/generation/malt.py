"""MALT's rollout: a segment is denoised with a memory; the finished segment renews the memory; repeat.

Everything that the next segment depends on is in a `Progress`, a value: keep it and go on later, or from there twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from diffusers import SchedulerMixin
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.codecs.base import Codec
from malt.diffusion.flow import interpolate
from malt.diffusion.guidance import Guidance
from malt.diffusion.sampling import sample
from malt.errors import MaltError, UsageError
from malt.generation.rollout import Segment
from malt.memory.state import Memory, num_bytes
from malt.models.transformer import MaltTransformer3DModel

Caption = tuple[Tensor, Tensor]  # encoder states (b, n, e) and which of them count (b, n)


@dataclass(frozen=True)
class Progress:
    """Where a video stands. `context` holds its last latent frames, None before there are any."""

    seed: int
    memory: Memory
    context: Float[Tensor, "b s c h w"] | None = None
    encoder_cache: Any = None
    decoder_cache: Any = None
    index: int = 0
    start: int = 0


@dataclass(frozen=True, kw_only=True)
class MaltRollout:
    """How a model makes a video: with which codec, sampler, guidance and captions.

    latent_size: (height, width) of the latents. memory_update_interval: segments between two memory writes.
    context_noise: noise level that the context is brought to, and told, before a segment is denoised behind it.
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

    def __post_init__(self) -> None:
        """Refuse counts with which nothing can be made."""
        if self.num_steps < 1:
            raise UsageError(f"asked for {self.num_steps} denoising steps; give at least 1")
        if self.memory_update_interval < 1:
            raise UsageError(f"asked for a memory update every {self.memory_update_interval} segments; give at least 1")

    def begin(self, seed: int) -> Progress:
        """A video of which there is nothing yet."""
        return Progress(seed=seed, memory=self.transformer.empty_memory(self._batch, *self.latent_size))

    def stream(self, num_frames: int, progress: Progress) -> Iterator[Segment]:
        """Segments until `num_frames` frames have been made beyond `progress`; the last is cut."""
        end = progress.start + num_frames
        while progress.start < end:
            segment, progress = self.advance(progress)
            yield replace(segment, frames=segment.frames[:, : end - segment.start])

    @torch.no_grad()
    def advance(self, progress: Progress) -> tuple[Segment, Progress]:
        """Make one segment, whole.

        Raises:
            MaltError: when the model's output is not finite.
        """
        latents = self._denoise(progress)
        _check_finite(latents, progress.index)
        segment, after = self._finish(progress, latents)
        _check_finite(segment.frames, progress.index)
        return segment, after

    @torch.no_grad()
    def absorb(self, progress: Progress, frames: Float[Tensor, "b t 3 H W"]) -> Iterator[tuple[Segment, Progress]]:
        """Take given frames as what has been made so far: encode and remember them, segment after segment.

        Frames that do not fill a latent frame are left out, at the end. Whole segments are counted from the end, so that
        the memory's last segment ends where the video goes on; the frames before them are shown, not remembered. Yields
        every segment with the progress after it.
        """
        for piece in frames.split(self._segment_lengths(frames.shape[1], progress), dim=1)[:-1]:
            latents, cache = self.codec.encode(piece, progress.encoder_cache)
            segment, progress = self._finish(replace(progress, encoder_cache=cache), latents)
            yield segment, progress

    def _segment_lengths(self, num_frames: int, progress: Progress) -> list[int]:
        """Frames in each segment of `num_frames` given ones, and then those that are left out."""
        codec, segment, begins = self.codec, self.transformer.segment_frames, progress.encoder_cache is None
        num_latents = max(0, 1 + (num_frames - codec.frames_of(1, first=begins)) // codec.time_compression)
        ends = range(num_latents % segment or segment, num_latents + 1, segment)
        starts = [0] + [codec.frames_of(end, first=begins) for end in ends]
        return [end - start for start, end in pairwise([*starts, num_frames])]

    @property
    def _batch(self) -> int:
        return self.caption[0].shape[0]

    def _denoise(self, progress: Progress) -> Tensor:
        """Latents of the next segment, integrated from noise behind the context."""
        model, chance = self.transformer, torch.Generator().manual_seed(progress.seed + progress.index)
        size = (model.segment_frames + model.context_frames, self.codec.latent_channels, *self.latent_size)
        noise = torch.randn(self._batch, *size, generator=chance).to(model.device)
        context, context_level = self._context(progress, noise[:, : model.context_frames])
        guided = self.guidance.prepare(progress.memory, self.caption, self.uncaptioned)

        def predict(latents: Tensor, levels: Tensor, memory: Memory, caption: Caption) -> Tensor:
            return model(latents, levels, memory, *caption, num_context_frames=model.context_frames)[0].float()

        def velocity(x: Tensor, t: float) -> Tensor:
            levels = torch.cat([context_level, torch.full(x.shape[:2], t, device=x.device)], dim=1)
            return guided.velocity(predict, torch.cat([context, x], dim=1), levels)[:, model.context_frames :]

        return sample(velocity, noise[:, model.context_frames :], self.scheduler, self.num_steps)

    def _context(self, progress: Progress, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The latent frames before the segment and their noise levels; where there are none, noise at level 1."""
        known = noise[:, :0] if progress.context is None else progress.context
        missing = noise.shape[1] - known.shape[1]
        level = torch.tensor([1.0] * missing + [self.context_noise] * known.shape[1], device=noise.device)
        level = repeat(level, "s -> b s", b=self._batch)
        return interpolate(torch.cat([noise[:, :missing], known], dim=1), noise, level), level

    def _finish(self, progress: Progress, latents: Tensor) -> tuple[Segment, Progress]:
        """Decode a finished segment and, when it is due and whole, remember it."""
        model = self.transformer
        frames, cache = self.codec.decode(latents, progress.decoder_cache)
        memory = progress.memory
        if latents.shape[1] == model.segment_frames and progress.index % self.memory_update_interval == 0:
            clean = torch.zeros(latents.shape[:2], device=latents.device)
            memory = model(latents, clean, memory, *self.caption)[1]
        seen = latents if progress.context is None else torch.cat([progress.context, latents], dim=1)
        after = replace(
            progress,
            memory=memory,
            context=seen[:, max(0, seen.shape[1] - model.context_frames) :],
            decoder_cache=cache,
            index=progress.index + 1,
            start=progress.start + frames.shape[1],
        )
        return Segment(progress.index, progress.start, frames.clamp(-1, 1), latents, num_bytes(memory)), after


def _check_finite(output: Tensor, index: int) -> None:
    if not torch.isfinite(output).all():
        raise MaltError(
            f"the model's output in segment {index} is not finite: its weights are damaged, or the guidance scale is too "
            "high; try another checkpoint or a guidance scale near 2"
        )
