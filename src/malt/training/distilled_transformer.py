"""A student of few steps, as what a run trains: it begins as its teacher, and shares all but the transformer with it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from malt.errors import UsageError
from malt.models.transformer import MaltTransformer3DModel
from malt.pipelines.checkpoint_check import check_checkpoint, read_json
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.training.config import Experiment, Sampling, TransformerSize
from malt.training.kept_of_teacher import check_kept
from malt.training.objectives.denoising import CaptionedModel, CaptionedTransformer
from malt.training.objectives.distillation import StudentConfig, Teacher
from malt.training.options import from_json
from malt.training.pipeline_export import write_pipeline
from malt.worlds.registry import open_world, scripted_world


@dataclass(frozen=True, kw_only=True)
class DistilledTransformer:
    """A `ModelSpec`: the teacher's transformer, told of its steps and their guidance; the text encoder stays as it is."""

    teacher: Path
    size: TransformerSize
    student: StudentConfig
    num_steps: tuple[int, ...]  # that are practised
    actions: tuple[str, ...]
    sampling: Sampling
    seed: int
    result: str = "pipeline"

    @property
    def segment_frames(self) -> int:
        """The teacher's."""
        return self.size.segment_frames

    @property
    def context_frames(self) -> int:
        """The teacher's."""
        return self.size.context_frames

    @property
    def patch_size(self) -> int:
        """The teacher's."""
        return self.size.patch_size

    def build(self, words: tuple[str, ...], autoencoder: nn.Module) -> CaptionedModel:
        """The teacher with weights for what a step is told, which change nothing yet.

        Raises:
            CheckpointError: there is no such teacher.
        """
        pipe, transformer = self._loaded()
        torch.manual_seed(self.seed)
        student = self.student_of(transformer)
        student.load_state_dict(transformer.state_dict(), strict=False)
        return CaptionedTransformer(student.train(), pipe.text_encoder.requires_grad_(False), pipe.tokenizer)

    def load_teacher(self, device: str, precision: torch.dtype) -> Teacher:
        """What teaches, on a device and in a precision: nothing of it learns, so its weights need not be exact.

        Raises:
            CheckpointError: there is no such teacher.
        """
        _, transformer = self._loaded()
        return self.teacher_of(transformer.requires_grad_(False).to(device, precision))

    def student_of(self, transformer: MaltTransformer3DModel) -> MaltTransformer3DModel:
        """A new student of this transformer's settings."""
        own = {name: value for name, value in transformer.config.items() if not name.startswith("_")}
        student: MaltTransformer3DModel = MaltTransformer3DModel(**own | {"distilled": self._distilled})
        return student

    def teacher_of(self, transformer: MaltTransformer3DModel) -> Teacher:
        """This transformer as a teacher."""
        scales = self.sampling.guidance_scale, self.sampling.memory_guidance_scale
        return Teacher(transformer, *scales, self.sampling.shift)

    def _loaded(self) -> tuple[MaltPipeline, MaltTransformer3DModel]:
        pipe = load_pipeline(self.teacher)
        assert isinstance(pipe.transformer, MaltTransformer3DModel)
        return pipe, pipe.transformer

    def write(self, model: CaptionedModel, autoencoder: nn.Module, out: Path) -> None:
        """A `MaltPipeline` directory."""
        write_pipeline(model, autoencoder, out, self.sampling, self.actions)

    @property
    def _distilled(self) -> dict[str, list[float]]:
        """What a student notes of what it was made for."""
        return {
            "guidance_scale": list(self.student.guidance_scales),
            "memory_guidance_scale": list(self.student.memory_guidance_scales),
            "num_inference_steps": list(self.num_steps),
        }


def student_of(experiment: Experiment) -> DistilledTransformer:
    """What an experiment with a teacher trains.

    Raises:
        CheckpointError: there is no whole pipeline in the folder.
        UsageError: the teacher was distilled itself, or is of another size.
    """
    teacher = Path(experiment.teacher or "")
    check_kept(experiment, replace(experiment, transformer=_size_of(_config_of(teacher))))
    objectives = [objective for stage in experiment.curriculum for objective in stage.objectives]
    return DistilledTransformer(
        teacher=teacher,
        size=experiment.transformer,
        student=experiment.student,
        num_steps=tuple(sorted({objective.distillation.student_steps for objective in objectives})),
        actions=experiment.actions,
        sampling=experiment.sampling,
        seed=experiment.seed,
    )


def _config_of(teacher: Path) -> Any:
    """The settings of a teacher's transformer; one that was distilled is refused."""
    check_checkpoint(teacher)
    config = read_json(teacher / "transformer" / "config.json")
    if config.get("distilled"):
        raise UsageError(
            f"the teacher {teacher} was distilled itself: its steps are few and its guidance is told; give what taught it"
        )
    return config


def with_teacher(experiment: Experiment, teacher: Path) -> Experiment:
    """An experiment that teaches a student what this pipeline does: sizes, pictures, actions and guidance are the teacher's.

    Raises:
        CheckpointError: there is no whole pipeline in the folder.
    """
    teacher = teacher.resolve()
    check_checkpoint(teacher)
    index, config, vae, scheduler = (
        dict[str, Any](read_json(teacher / name))
        for name in (
            "model_index.json",
            "transformer/config.json",
            "vae/config.json",
            "scheduler/scheduler_config.json",
        )
    )
    names = ("guidance_scale", "memory_guidance_scale", "context_noise")
    shift = float(scheduler.get("shift", experiment.sampling.shift))
    actions = tuple(index.get("action_names") or ())
    return replace(
        experiment,
        teacher=str(teacher),
        world=_world_of(experiment.world, actions),
        student=_told_where_guided(experiment.student, index),
        transformer=_size_of(config),
        frame_size=tuple(vae.get("frame_size") or experiment.frame_size),
        frame_rate=float(vae.get("frame_rate", experiment.frame_rate)),
        actions=actions,
        sampling=replace(experiment.sampling, shift=shift, **{name: index[name] for name in names if name in index}),
    )


def _world_of(name: str, actions: tuple[str, ...]) -> str:
    """The world of this name, or another where only there somebody acts as the teacher is told."""
    world, acts = open_world(name), scripted_world(actions)
    return acts.name if acts and tuple(world.action_names) != actions else name


def _told_where_guided(student: StudentConfig, index: Mapping[str, Any]) -> StudentConfig:
    """A teacher that is not guided by captions makes no passes for it, and its student knows the scale 1 alone."""
    return replace(student, guidance_scales=(1.0, 1.0)) if index.get("guidance_scale") == 1 else student


def _size_of(config: Any) -> TransformerSize:
    """The size of a transformer by its settings."""
    return from_json(TransformerSize, {f.name: config[f.name] for f in fields(TransformerSize) if f.name in config})
