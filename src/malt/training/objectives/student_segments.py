"""The segments that a student and its teacher have in common: what is made, what is remembered, what lies before."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.flow import interpolate
from malt.memory.state import Memory, join, without_places
from malt.models.video_model import VideoModel
from malt.training.objectives.denoising_loss import denoised_segments, noise_levels
from malt.training.objectives.objective import Objective, SelfForcingConfig
from malt.training.objectives.rng import StepRandom
from malt.training.objectives.segment_passes import Before, Scales, SegmentPasses, StudentPasses, in_precision
from malt.training.objectives.segments import SegmentedSequence
from malt.training.objectives.self_forcing import SelfForcing
from malt.training.objectives.step_targets import Step


class OwnSegments(SelfForcing):
    """Segments that a student makes from pure noise, in the steps that it learns.

    What they are followed by, the teacher knows, so nothing of the true segment is needed.
    """

    def __init__(
        self,
        model: VideoModel,
        config: SelfForcingConfig,
        rng: StepRandom,
        *,
        steps: list[Step],
        scales: Callable[[StepRandom, int], Scales],
    ) -> None:
        super().__init__(model, config, rng)
        self.steps, self.scales = steps, scales

    def _made(
        self, sequence: SegmentedSequence, index: int, seen: Float[Tensor, "b t c h w"], memory: Memory
    ) -> Float[Tensor, "b s c h w"]:
        context = seen[:, sequence.context(index)]
        count, shape = context.shape[1], sequence.latents.shape[2:]
        nothing = (sequence.begins & (index == 0)).to(context)
        levels = nothing[:, None].expand(-1, count)
        drawn = self.rng.normal(shape=(count + sequence.segment_frames, *shape)).to(context)
        before = Before(
            interpolate(context, drawn[:, :count], levels), levels, sequence.actions_of(index, with_context=True)
        )
        student = StudentPasses(SegmentPasses(self.model, memory, sequence.caption, before), self.scales(self.rng, 1))
        noisy = drawn[:, count:]
        for step in self.steps:
            level, following = step.levels[0], step.levels[-1]
            noisy = noisy + (following - level) * student.velocity(noisy, level, following)
        return noisy


def unroll_teacher(
    model: VideoModel, sequence: SegmentedSequence, seen: Float[Tensor, "b t c h w"], objective: Objective
) -> Memory:
    """A teacher's memories before every segment that is learned: of the segments in `seen`, written as generation does."""
    count, memory = objective.unroll.num_denoised, model.empty_memory(len(seen), *seen.shape[-2:])
    if not (model.remembers and objective.unroll.num_segments > 1):
        return join([without_places(memory)] * len(denoised_segments(objective)))
    dtype, memories = memory[0].tokens.dtype, [memory]
    caption = in_precision(sequence.caption, dtype)
    for index in range(objective.unroll.num_segments - 1):
        segment, actions = seen[:, sequence.frames(index)].to(dtype), sequence.actions_of(index, with_context=False)
        clean = segment.new_zeros(segment.shape[:2], dtype=torch.float32)
        with torch.autocast(segment.device.type, enabled=False):
            memory = model(segment, clean, memory, **caption.arguments, actions=actions).memory
        memories = [*memories, memory][-count:]
    return join(objective.noise.num_noise_samples * memories)


def behind(
    sequence: SegmentedSequence, seen: Float[Tensor, "b t c h w"], objective: Objective, rng: StepRandom
) -> tuple[Before, Float[Tensor, "n s c h w"]]:
    """What lies before every segment that is learned, as slightly noisy as the objective says, and the noise it begins as."""
    denoised = denoised_segments(objective)
    count = 0 if objective.unroll.begins_alone else sequence.context_frames
    context = torch.cat([seen[:, sequence.context(index)][:, :count] for index in denoised])
    levels = noise_levels(sequence, objective, rng)[:, :count]
    shape = (count + sequence.segment_frames, *sequence.latents.shape[2:])
    drawn = rng.normal(len(denoised), shape).to(context)
    actions = sequence.actions_of(*denoised, with_context=True)
    return Before(interpolate(context, drawn[:, :count], levels), levels, actions), drawn[:, count:]
