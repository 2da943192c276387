"""Learning to denoise with a memory: walk k clean segments, writing the memory; denoise all of them in one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from malt.data.batch import Batch
from malt.diffusion.flow import interpolate, logit_normal, velocity
from malt.memory.state import Memory, detach, forget, join, perturb, without_places
from malt.models.transformer import MaltTransformer3DModel

# (step, number of videos, latent frames, context frames before them, share that begins a film)
# -> windows with their context
Examples = Callable[[int, int, int, int, float], Batch]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is drawn at random in a training step. Probabilities are per video or per segment, never per batch."""

    num_segments: int = 1  # k: consecutive segments of one video
    batch_size: int = 32  # videos a step
    bptt_segments: int | None = None  # memory writes that gradients flow through; None for all
    level_mean: float = 0.3  # of the logit of a segment's noise level
    context_noise: float = 0.3  # the context's noise level is uniform up to this
    remembered_noise: float = 0.2  # so is that of the segment that is remembered
    memory_noise: float = 0.3  # standard deviation of the noise on the memory, uniform up to this
    start_share: float = 0.3  # of videos whose first segment begins a film: it sees no context
    caption_dropout: float = 0.12
    memory_dropout: float = 0.1  # of a later segment's memory
    context_dropout: float = 0.03  # of a segment's context, where there is any

    def __post_init__(self) -> None:
        for name in ("num_segments", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("start_share", "caption_dropout", "memory_dropout", "context_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a probability between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of the curriculum: up to step `until`, learn by these objectives in turn."""

    until: int
    objectives: tuple[Objective, ...]


class Captioned(nn.Module):
    """The transformer and the text encoder that is trained along with it."""

    def __init__(
        self, transformer: MaltTransformer3DModel, text_encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__()
        self.transformer, self.text_encoder, self.tokenizer = transformer, text_encoder, tokenizer

    def caption(self, captions: list[str]) -> tuple[Float[Tensor, "b n e"], Bool[Tensor, "b n"]]:
        """Encoded captions and which of their tokens count."""
        device = self.text_encoder.device
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").to(device)
        states = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return states, tokens.attention_mask.bool()


class TransformerTask:
    """A `Task`: the flow matching loss of this step's segments, each with the memory that it had before it."""

    def __init__(
        self, module: Captioned, examples: Examples, curriculum: tuple[Stage, ...], seed: int, dtype: torch.dtype
    ) -> None:
        self.module, self.examples, self.curriculum = module, examples, curriculum
        self.seed, self.dtype = seed, dtype

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the velocity, and the same by segment index."""
        objectives = next((stage for stage in self.curriculum if step < stage.until), self.curriculum[-1]).objectives
        objective = objectives[step % len(objectives)]
        model = self.module.transformer
        chance = torch.Generator(model.device).manual_seed(self.seed * 1_000_003 + step)
        frames = objective.num_segments * model.segment_frames
        batch = self.examples(step, objective.batch_size, frames, model.context_frames, objective.start_share)
        latents, captions, begins = batch.latents.to(model.device), batch.captions, batch.begins.to(model.device)
        drop = torch.rand(len(captions), generator=chance, device=chance.device) < objective.caption_dropout
        captions = ["" if dropped else text for text, dropped in zip(captions, drop.tolist(), strict=True)]
        with torch.autocast(latents.device.type, self.dtype, enabled=self.dtype != torch.float32):
            caption = self.module.caption(captions)
            errors = _Lesson(model, objective, begins, chance).errors(latents, caption)
        by_segment = {f"segment_{k}": float(e) for k, e in enumerate(errors.detach())}
        return errors.mean(), by_segment


class _Lesson:
    """One training step on one batch: the walk, the noise and the errors."""

    def __init__(
        self, model: MaltTransformer3DModel, objective: Objective, begins: Bool[Tensor, " b"], chance: torch.Generator
    ) -> None:
        self.model, self.objective, self.begins, self.chance = model, objective, begins, chance

    def errors(self, latents: Tensor, caption: tuple[Tensor, Tensor]) -> Float[Tensor, " k"]:
        """Mean squared error of every segment's velocity, averaged over the videos."""
        prediction, target = self._denoise(latents, caption, self._walk(latents, caption))
        squared = (prediction.float() - target).square()
        return rearrange(squared, "(k b) s c h w -> k (b s c h w)", k=self.objective.num_segments).mean(dim=1)

    def _uniform(self, count: int, high: float, like: Tensor) -> Tensor:
        return high * torch.rand(count, generator=self.chance, device=self.chance.device).to(like)

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.chance, device=self.chance.device).to(like)

    def _walk(self, latents: Tensor, caption: tuple[Tensor, Tensor]) -> Memory:
        """The memory before every segment, as one batch: (segment, video) with the first segment's, empty, first."""
        model, objective = self.model, self.objective
        size, count = latents.shape[-2:], objective.num_segments * len(latents)
        if objective.num_segments == 1 or model.config.memory == "none":
            return without_places(model.empty_memory(count, *size))  # nothing to walk for, and no places to attend to
        memory = model.empty_memory(len(latents), *size)
        before = [memory]
        for index in range(objective.num_segments - 1):
            clean = self._segment(latents, index)[:, model.context_frames :]
            level = repeat(self._uniform(len(clean), objective.remembered_noise, clean), "b -> b s", s=clean.shape[1])
            noisy = interpolate(clean, self._normal(clean), level)
            _, memory = model(noisy, level, memory, *caption)
            if objective.bptt_segments is not None and index < objective.num_segments - 1 - objective.bptt_segments:
                memory = detach(memory)
            before.append(memory)
        joined = join(before)
        joined = perturb(joined, self._uniform(count, objective.memory_noise, latents), self.chance)
        lost = torch.rand(count, generator=self.chance, device=self.chance.device) < objective.memory_dropout
        return forget(joined, lost.to(latents.device))

    def _denoise(self, latents: Tensor, caption: tuple[Tensor, Tensor], memory: Memory) -> tuple[Tensor, Tensor]:
        """Predicted and true velocity of all segments, context left out."""
        model, objective = self.model, self.objective
        clean = torch.cat([self._segment(latents, index) for index in range(objective.num_segments)])
        level = self._levels(len(clean), clean)
        eps = self._normal(clean)
        states, mask = (repeat(x, "b ... -> (k b) ...", k=objective.num_segments) for x in caption)
        context = model.context_frames
        prediction, _ = model(interpolate(clean, eps, level), level, memory, states, mask, num_context_frames=context)
        return prediction[:, context:], velocity(clean, eps)[:, context:]

    def _levels(self, count: int, like: Tensor) -> Tensor:
        """Noise levels (segments, frames): the context's slight, or 1 where there is none; the segment's logit-normal."""
        model, objective = self.model, self.objective
        segment = logit_normal(
            torch.randn(count, generator=self.chance, device=self.chance.device), objective.level_mean
        )
        context = objective.context_noise * torch.rand(count, generator=self.chance, device=self.chance.device)
        none = torch.rand(count, generator=self.chance, device=self.chance.device) < objective.context_dropout
        none[: len(self.begins)] |= self.begins
        context = torch.where(none, 1.0, context)
        frames = [context] * model.context_frames + [segment] * model.segment_frames
        return torch.stack(frames, dim=1).to(like)

    def _segment(self, latents: Tensor, index: int) -> Tensor:
        """Segment `index` with the context before it."""
        start = index * self.model.segment_frames
        return latents[:, start : start + self.model.context_frames + self.model.segment_frames]
