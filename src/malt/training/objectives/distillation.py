"""Learning few steps from a teacher of many: both remember the same segments, each in its own way."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from jaxtyping import Bool, Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.sampling import noise_levels
from malt.memory.state import detach
from malt.models.video_model import VideoModel
from malt.training.objectives.autocast import no_gradients
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedModel, DenoisingObjective, SequenceSampler
from malt.training.objectives.denoising_loss import denoised_segments
from malt.training.objectives.objective import Objective
from malt.training.objectives.rng import WHOLE, Generators, RankAndSize, StepRandom
from malt.training.objectives.segment_passes import Scales, SegmentPasses, StudentPasses, TeacherPasses
from malt.training.objectives.segments import SegmentedSequence
from malt.training.objectives.step_targets import METHODS, Step
from malt.training.objectives.student_segments import OwnSegments, behind, unroll_teacher
from malt.training.objectives.unroll import unroll_memory


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """What a student of few steps is to be able to do, and what teaches it."""

    method: str = "trajectory"  # one of `METHODS`: where a step should lead
    teacher_steps: int = 12  # at least so many of the teacher's make a segment
    guidance_scales: tuple[float, float] = (1.0, 5.0)  # of what is told, the lowest and the highest
    memory_guidance_scales: tuple[float, float] = (1.0, 3.0)
    usual_scale_prob: float = 0.5  # of a segment that its scales are those that the teacher is best with

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; give {' or '.join(METHODS)}")
        if self.teacher_steps < 1:
            raise ValueError(f"teacher_steps is {self.teacher_steps}; give at least 1")
        for name in ("guidance_scales", "memory_guidance_scales"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} are {low:g} and {high:g}; give two from 1 on, the lower first")
        if not 0 <= self.usual_scale_prob <= 1:
            raise ValueError(f"usual_scale_prob is {self.usual_scale_prob}; give a probability between 0 and 1")


class Teacher(NamedTuple):
    """What teaches, and what it is best with: guidance scales, and the shift of its schedule of noise levels.

    late_scale: the guidance scale of the second of two transformers, where that has its own.
    """

    model: VideoModel
    guidance_scale: float
    memory_guidance_scale: float
    shift: float
    late_scale: float | None = None


class DistillationObjective(DenoisingObjective):
    """A `TrainingObjective`: how far the steps of a student lead from where they should.

    A segment is made from pure noise in `student_steps` steps. At each of them the student's velocity is held against that
    of the student's method; the next begins where the student has come to, or where it should have. So it is practised on
    its own mistakes within a segment, and, where `self_forcing` is on, on segments of its own before it.
    """

    def __init__(
        self,
        module: CaptionedModel,
        examples: SequenceSampler,
        curriculum: tuple[Stage, ...],
        seed: int,
        dtype: torch.dtype,
        rank_and_size: RankAndSize = WHOLE,
        *,
        teacher: Teacher,
        student: StudentConfig,
    ) -> None:
        super().__init__(module, examples, curriculum, seed, dtype, rank_and_size)
        self.teacher, self.student = teacher, student

    def loss_of(
        self, objective: Objective, inputs: Mapping[str, Tensor], generators: Generators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the velocity of all steps, and that of each."""
        rng = StepRandom(generators, objective.batch_size, self.rank_and_size)
        dropped = rng.uniform() < objective.dropout.caption_dropout
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            with torch.no_grad():
                captions = tuple(self.module.encode_inputs(inputs, d) for d in (dropped, torch.ones_like(dropped)))
            sequence = self._sequence(inputs, captions[0], objective)
            errors = self._errors(sequence, captions[1], objective, rng)
        steps = {f"{objective.distillation.student_steps}_steps_{n}": e for n, e in enumerate(errors.detach())}
        return errors.mean(), steps

    def _errors(
        self, sequence: SegmentedSequence, uncaptioned: Caption, objective: Objective, rng: StepRandom
    ) -> Float[Tensor, " steps"]:
        """The error of each step, over all segments."""
        forcing = partial(OwnSegments, steps=self.steps(objective), scales=self._scales)
        unrolled = unroll_memory(self.module.transformer, sequence, objective, rng, forcing)
        denoised = denoised_segments(objective)
        with no_gradients():
            remembered = unroll_teacher(self.teacher.model, sequence, unrolled.seen, objective)
        scales = self._scales(rng, len(denoised))
        before, noise = behind(sequence, unrolled.seen, objective, rng)
        captions = sequence.caption.repeat(len(denoised)), uncaptioned.repeat(len(denoised))
        learning = StudentPasses(SegmentPasses(self.module.transformer, unrolled.memory, captions[0], before), scales)
        # Of its own steps that are no more than a target, a student keeps keys and values without gradients.
        resting = StudentPasses(
            SegmentPasses(self.module.transformer, detach(unrolled.memory), captions[0], before), scales
        )
        teacher = TeacherPasses(
            self.teacher.model,
            remembered,
            captions,
            before,
            scales,
            late_text=self.teacher.late_scale,
            heeds_text=self.student.guidance_scales[1] > 1 or self.teacher.late_scale not in (None, 1),
            heeds_memory=self.student.memory_guidance_scales[1] > 1,
        )
        is_own = rng.uniform(len(denoised)) < objective.distillation.own_state_prob
        return self._follow(noise, self.steps(objective), learning, resting, teacher, is_own.to(noise.device))

    def _follow(
        self,
        noise: Tensor,
        steps: list[Step],
        learning: StudentPasses,
        resting: StudentPasses,
        teacher: TeacherPasses,
        is_own: Bool[Tensor, " b"],
    ) -> Float[Tensor, " steps"]:
        """From noise to latents: the error of every step."""
        noisy, errors, target_of = noise, [], METHODS[self.student.method]
        for step in steps:
            level, following = step.levels[0], step.levels[-1]
            with no_gradients():
                target = target_of(noisy, step, resting, teacher)
            velocity = learning.velocity(noisy, level, following)
            errors.append((velocity - target).square().mean())
            led = torch.where(is_own[:, None, None, None, None], velocity.detach(), target)
            noisy = noisy + (following - level) * led
        return torch.stack(errors)

    def steps(self, objective: Objective) -> list[Step]:
        """The student's steps of a segment, by the teacher's schedule of noise levels."""
        count = objective.distillation.student_steps
        fine = max(1, -(-self.student.teacher_steps // count))
        taught, halves = schedule(self.teacher.shift, fine * count), schedule(self.teacher.shift, 2 * count)
        return [Step(taught[n * fine : (n + 1) * fine + 1], halves[2 * n : 2 * n + 3]) for n in range(count)]

    def _scales(self, rng: StepRandom, groups: int) -> Scales:
        """Those that the teacher is best with, or others within the student's ranges."""
        usual = rng.uniform(groups) < self.student.usual_scale_prob
        wanted = (
            (self.student.guidance_scales, self.teacher.guidance_scale),
            (self.student.memory_guidance_scales, self.teacher.memory_guidance_scale),
        )
        drawn = [(low + (high - low) * rng.uniform(groups), best) for (low, high), best in wanted]
        return Scales(*(torch.where(usual, best, scale).to(self.device) for scale, best in drawn))


@cache
def schedule(shift: float, num_steps: int) -> list[float]:
    """The noise levels of a teacher's steps."""
    levels: list[float] = noise_levels(FlowMatchEulerDiscreteScheduler(shift=shift), num_steps).tolist()
    return levels
