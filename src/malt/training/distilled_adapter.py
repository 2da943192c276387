"""A student of few steps of a base with a memory: its adapter learns on as a copy of the teacher's, and the base stays."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from malt.adapters.experts import adapters_in
from malt.adapters.folder import AdapterDescription
from malt.errors import UsageError
from malt.pipelines.adapted_loading import describe
from malt.pipelines.base_folder import read_settings
from malt.pipelines.caption_encoding import base_parts
from malt.pipelines.few_steps import DISTILLED
from malt.training.adapted_base import AdaptedBase, with_adapters
from malt.training.base_settings import boundary_between
from malt.training.config import AdapterConfig, Experiment, Sampling
from malt.training.kept_of_teacher import check_kept
from malt.training.objectives.distillation import StudentConfig, Teacher
from malt.training.options import from_json

LATE_SCALE = "guidance_scale_2"  # in an adapter's settings
SHIFTS = ("flow_shift", "shift")  # as schedulers call it


@dataclass(frozen=True, kw_only=True)
class DistilledAdapter(AdaptedBase):
    """A `ModelSpec`: an adapter that makes in `num_steps` passes what its teacher makes in many guided ones.

    A base cannot be told of its steps and their guidance, so there is one number of steps, and one guidance: `sampling` has
    the teacher's.
    """

    teacher: Path
    student: StudentConfig
    num_steps: int

    @property
    def beginning(self) -> Path:
        """The teacher's adapter."""
        return self.teacher

    @property
    def told_scale(self) -> float:
        """The teacher's."""
        return self.sampling.guidance_scale

    @property
    def late_scale(self) -> float | None:
        """By which the teacher is guided in the steps of its second transformer; None for the same as in the others."""
        scale = describe(self.teacher).settings.get(LATE_SCALE)
        return None if scale is None or self.boundary is None else float(scale)

    def load_teacher(self, device: str, precision: Any) -> Teacher:
        """What teaches, on a device: the base once more, with the adapter as it was.

        Raises:
            CheckpointError: the base or the adapter cannot be loaded.
        """
        model = with_adapters(self.load_transformers(precision), self.teacher, self.boundary)
        return self.teacher_of(model.requires_grad_(False).to(device))

    def teacher_of(self, model: Any) -> Teacher:
        """This base with a memory as a teacher."""
        (text, _), (memory, _) = self.student.guidance_scales, self.student.memory_guidance_scales
        return Teacher(model, text, memory, self.sampling.shift, self.late_scale)

    def _settings(self, autoencoder: nn.Module) -> dict[str, object]:
        made_for = {"num_inference_steps": [self.num_steps], "shift": self.sampling.shift}
        late = {} if self.late_scale is None else {LATE_SCALE: self.late_scale}
        return super()._settings(autoencoder) | late | {DISTILLED: made_for}


def with_adapter(experiment: Experiment, teacher: Path, base: Path) -> Experiment:
    """An experiment that teaches a student what this adapter does: sizes, pictures and guidance are the teacher's.

    Raises:
        CheckpointError: the folder holds no whole adapter.
        UsageError: the adapter was distilled itself, or is one for a base of two transformers.
    """
    teacher = teacher.resolve()
    if boundary_between(base) is not None:
        adapters_in(teacher)
    described = describe(teacher)
    if DISTILLED in described.settings:
        raise UsageError(f"the teacher {teacher} was distilled itself: its steps are few; give what taught it")
    sampling = _sampling_of(experiment.sampling, described.settings, base)
    guidance = base_parts(base).guidance(sampling.guidance_scale, sampling.memory_guidance_scale)
    student = replace(
        experiment.student,
        guidance_scales=(guidance.text, guidance.text),
        memory_guidance_scales=(guidance.memory, guidance.memory),
        usual_scale_prob=1.0,
    )
    return replace(
        experiment,
        teacher=str(teacher),
        base=str(base.resolve()),
        adapter=config_of(described),
        student=student,
        frame_size=tuple(described.settings.get("frame_size") or experiment.frame_size),
        frame_rate=float(described.settings.get("frame_rate", experiment.frame_rate)),
        sampling=sampling,
    )


def student_of_adapter(experiment: Experiment, **base: Any) -> DistilledAdapter:
    """What an experiment with a base and a teacher trains; `base` has what every `AdaptedBase` is made of.

    Raises:
        UsageError: several numbers of steps are practised, several scales of guidance, or steps that have to be told; or
            it is made otherwise than its teacher.
    """
    teacher = Path(str(experiment.teacher))
    check_kept(experiment, replace(experiment, adapter=config_of(describe(teacher))))
    objectives = [objective for stage in experiment.curriculum for objective in stage.objectives]
    counts = {objective.distillation.student_steps for objective in objectives}
    if len(counts) > 1:
        wanted = " and ".join(map(str, sorted(counts)))
        raise UsageError(
            f"a base cannot be told how far a step leads, and {wanted} steps are practised; give one number"
        )
    student = experiment.student
    if student.method != "trajectory":
        raise UsageError("a base cannot be told how far a step leads; give --student.method trajectory")
    for name, (low, high) in (
        ("guidance-scales", student.guidance_scales),
        ("memory-guidance-scales", student.memory_guidance_scales),
    ):
        if low != high:
            raise UsageError(
                f"a base cannot be told its guidance, so its student learns one; give --student.{name} one value twice"
            )
    return DistilledAdapter(teacher=teacher, student=student, num_steps=counts.pop(), **base)


def config_of(described: AdapterDescription) -> AdapterConfig:
    """The settings of an adapter as a recipe has them."""
    known = {field.name for field in fields(AdapterConfig)}
    return from_json(AdapterConfig, {name: value for name, value in described.adapter.items() if name in known})


def _sampling_of(sampling: Sampling, settings: Mapping[str, Any], base: Path) -> Sampling:
    """How the teacher makes videos, in the steps of the student."""
    names = ("guidance_scale", "memory_guidance_scale", "context_noise")
    scheduler = read_settings(base / "scheduler" / "scheduler_config.json")
    shifts = [float(scheduler[name]) for name in SHIFTS if scheduler.get(name)]
    told: dict[str, Any] = {name: float(settings[name]) for name in names if name in settings}
    if shifts:
        told["shift"] = shifts[0]
    return replace(sampling, **told)
