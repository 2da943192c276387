"""The loss of a training step: unroll the memory over the clean segments, then denoise them, each with the memory before it."""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.flow import interpolate, logit_normal, on_one_side, velocity
from malt.models.video_model import VideoModel
from malt.training.objectives.objective import Objective
from malt.training.objectives.rng import StepRandom
from malt.training.objectives.segments import SegmentedSequence
from malt.training.objectives.unroll import UnrolledMemory, unroll_memory


class LossTerms(NamedTuple):
    """What a step loses.

    errors: mean squared error of each denoised segment's velocity, over videos and noise samples. regularisation: see
    `UnrolledMemory`.
    """

    errors: Float[Tensor, " k"]
    regularisation: Float[Tensor, ""] | None


def denoising_loss(model: VideoModel, sequence: SegmentedSequence, objective: Objective, rng: StepRandom) -> LossTerms:
    """The errors of the segments from `first_denoised` on, and the regularisation where it is asked for.

    Of two transformers, one learns: each in every other step on average.
    """
    is_high = None if sequence.boundary is None else bool(rng.shared() < 0.5)
    unrolled = unroll_memory(model, sequence, objective, rng, is_high=is_high)
    prediction, target = _denoise(model, sequence, unrolled, objective, rng, is_high)
    squared = (prediction.float() - target).square()
    sizes = {"sample": objective.noise.num_noise_samples, "k": objective.unroll.num_denoised}
    errors = rearrange(squared, "(sample k b) s c h w -> k (sample b s c h w)", **sizes).mean(dim=1)
    return LossTerms(errors, unrolled.regularisation)


def _denoise(
    model: VideoModel,
    sequence: SegmentedSequence,
    unrolled: UnrolledMemory,
    objective: Objective,
    rng: StepRandom,
    is_high: bool | None,
) -> tuple[Tensor, Tensor]:
    """Predicted and true velocity of all segments, context left out, in one batch (noise sample, segment, video)."""
    denoised = denoised_segments(objective)
    context = 0 if objective.unroll.begins_alone else sequence.context_frames
    behind = slice(sequence.context_frames - context, None)
    clean = torch.cat([sequence.behind(unrolled.seen, index) for index in denoised])[:, behind]
    level = noise_levels(sequence, objective, rng, is_high)[:, behind]
    eps = rng.normal(len(denoised), clean.shape[1:]).to(clean)
    prediction = model(
        interpolate(clean, eps, level),
        level,
        unrolled.memory,
        **sequence.caption.repeat(len(denoised)).arguments,
        actions=sequence.actions_of(*denoised, with_context=True),
        num_context_frames=context,
        update_memory=False,
    ).velocity
    first = context + objective.baseline.num_prefix_frames
    last = context + sequence.segment_frames - objective.baseline.num_suffix_frames
    return prediction[:, first:last], velocity(clean, eps)[:, first:last]


def noise_levels(
    sequence: SegmentedSequence, objective: Objective, rng: StepRandom, is_high: bool | None = None
) -> Float[Tensor, "n s"]:
    """Noise levels (noise sample and segment, frame).

    The context's is slight, or 1 where there is none; the segment's is logit-normal, at the side of the boundary where the
    transformer that learns makes steps.
    """
    denoised, noise, baseline = denoised_segments(objective), objective.noise, objective.baseline
    groups, num_unknown = len(denoised), sequence.segment_frames - baseline.num_known_frames
    drawn = rng.normal(groups, (num_unknown if baseline.level_per_frame else 1,))
    if sequence.boundary is not None and is_high is not None:
        drawn = on_one_side(drawn, sequence.boundary, noise.logit_mean, is_high)
    segment = logit_normal(drawn, noise.logit_mean).expand(-1, num_unknown)
    context = known = noise.context_noise * rng.uniform(groups)
    none = rng.uniform(groups) < objective.dropout.context_dropout
    none |= torch.cat([sequence.begins if index == 0 else torch.zeros_like(sequence.begins) for index in denoised])
    context = torch.where(none, 1.0, context)
    counts = (sequence.context_frames, baseline.num_prefix_frames, baseline.num_suffix_frames)
    before, first, last = (repeat(x, "n -> n s", s=n) for x, n in zip((context, known, known), counts, strict=True))
    return torch.cat([before, first, segment, last], dim=1).to(sequence.latents)


def denoised_segments(objective: Objective) -> tuple[int, ...]:
    """The index of the segment of every group of the batch: noise sample and segment."""
    unroll = objective.unroll
    return objective.noise.num_noise_samples * (*range(unroll.first_denoised, unroll.num_segments),)
