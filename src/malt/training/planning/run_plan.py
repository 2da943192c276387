"""The plan of an experiment: every stage of its run on the meta device, before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from malt.codecs.base import Codec
from malt.codecs.registry import codec_of
from malt.models.autoencoder import AutoencoderMalt
from malt.pipelines.autoencoder_loading import autoencoder_without_weights
from malt.pipelines.latent_groups import check_segment
from malt.training.base_settings import patch_side
from malt.training.config import Experiment
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.autoencoding import ReconstructionObjective
from malt.training.objectives.denoising import CaptionedModel
from malt.training.objectives.rng import check_shared
from malt.training.pipeline_export import build_captioned
from malt.training.planning.adapted_plan import adapted_without_weights
from malt.training.planning.gpus import Gpus
from malt.training.planning.stage_plan import StagePlan, Steps, weights_of
from malt.training.planning.step_cost import as_planned, measure_step, planned
from malt.training.planning.student_plan import Teaching, adapter_taught_without_weights, taught_without_weights
from malt.training.planning.transformer_plan import PlannedExamples, plan_transformer
from malt.training.sources.data_source import check_frame_size
from malt.worlds.registry import open_world


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run comes to on these GPUs, stage by stage. precision: what it computes in there."""

    gpus: Gpus
    precision: torch.dtype
    stages: tuple[StagePlan, ...]


def plan_run(experiment: Experiment, gpus: Gpus) -> RunPlan:
    """The plan of an experiment, for videos as long as it asks for and captions as long as it reads.

    Raises:
        CheckpointError: the autoencoder that is to be used is none.
        UsageError: the GPUs cannot share a batch equally, or frames or segments do not fit the base.
    """
    precision = torch.float32 if experiment.precision == "float32" else torch.bfloat16
    given, stages = experiment.codec or experiment.start or experiment.base or experiment.teacher, list[StagePlan]()
    if given is None:
        with torch.device("meta"):
            own = AutoencoderMalt(**vars(experiment.autoencoder))
        stages.append(_autoencoder_stage(experiment, own, precision, gpus.count))
        autoencoder: nn.Module = own
    else:
        autoencoder = autoencoder_without_weights(Path(given))
    stages.append(_transformer_stage(experiment, codec_of(autoencoder), precision, gpus.count))
    return RunPlan(gpus=gpus, precision=precision, stages=tuple(stages))


def _autoencoder_stage(
    experiment: Experiment, autoencoder: AutoencoderMalt, precision: torch.dtype, num_gpus: int
) -> StagePlan:
    """The first stage; its weights are on every GPU."""
    objective, optimization = experiment.autoencoder_objective, experiment.autoencoder_optimization
    check_shared((0, num_gpus), objective.batch_size)

    def clips(step: int, count: int) -> torch.Tensor:
        return torch.randn(count, experiment.clip_frames, 3, *experiment.frame_size)

    with planned():
        as_planned(autoencoder)
        task = ReconstructionObjective(autoencoder, clips, objective, 0, precision, (0, num_gpus))
        cost = measure_step(task)
        weights = weights_of(autoencoder, (), optimization, ParallelConfig(), num_gpus)
    steps = (optimization.num_steps, float(num_gpus * cost.flops))
    return StagePlan(
        name="autoencoder",
        num_steps=optimization.num_steps,
        weights=weights,
        plain=Steps(stages=(steps,), kept=cost.kept, peak=cost.peak),
    )


def _transformer_stage(experiment: Experiment, codec: Codec, precision: torch.dtype, num_gpus: int) -> StagePlan:
    """The second stage: a transformer and its text encoder, or the adapter of a base."""
    source = open_world(experiment.world).words if experiment.data is None else ()
    words = source or tuple(f"word{n}" for n in range(experiment.max_words))
    caption = " ".join(words[:1] * experiment.caption_tokens)
    model: CaptionedModel
    teaching: Teaching | None = None
    if experiment.base and experiment.teacher:
        model, teaching = adapter_taught_without_weights(experiment, precision)
    elif experiment.base:
        check_segment(codec, experiment.adapter.segment_frames)
        model = adapted_without_weights(Path(experiment.base), experiment.adapter, precision)
    else:
        with torch.device("meta"):
            own = build_captioned(
                experiment.transformer,
                words,
                codec,
                caption_tokens=experiment.caption_tokens,
                num_actions=len(experiment.actions),
            )
        model, teaching = taught_without_weights(own, experiment, precision) if experiment.teacher else (own, None)
    if experiment.base:
        check_frame_size(codec, patch_side(Path(experiment.base)), experiment.frame_size)
    height, width = (side // codec.space_compression for side in experiment.frame_size)
    examples = PlannedExamples(
        latent_size=(codec.latent_channels, height, width),
        caption="" if experiment.base else caption,
        action_dim=codec.time_compression * len(experiment.actions),
    )
    return plan_transformer(
        model,
        examples,
        experiment.curriculum,
        experiment.optimization,
        experiment.parallel,
        precision=precision,
        num_gpus=num_gpus,
        teaching=teaching,
    )
