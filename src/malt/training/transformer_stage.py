"""The second stage of a run: a model that denoises with a memory, trained over the curriculum."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from malt.codecs.registry import codec_of
from malt.errors import UsageError
from malt.training.adapted_base import AdaptedBase
from malt.training.config import CheckpointConfig, MonitorConfig, Sampling
from malt.training.distilled_adapter import DistilledAdapter
from malt.training.distilled_transformer import DistilledTransformer
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import DistributedContext, ParallelConfig, is_sharded, parallelize
from malt.training.model_spec import ModelSpec
from malt.training.monitors.schedule import Monitors
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedModel, DenoisingObjective
from malt.training.objectives.distillation import DistillationObjective
from malt.training.objectives.rng import check_shared
from malt.training.sources.data_source import Log, TrainingData
from malt.training.sources.fit_curriculum import fit_to_videos
from malt.wording import counted


@dataclass(frozen=True, kw_only=True)
class TransformerStage:
    """What is trained, and how."""

    model: ModelSpec
    curriculum: tuple[Stage, ...]
    optimization: Optimization
    checkpoint: CheckpointConfig
    monitors: MonitorConfig
    sampling: Sampling
    parallel: ParallelConfig
    seed: int
    precision: torch.dtype
    is_compiled: bool
    is_graphed: bool
    device: str
    out: Path

    def check(self, context: DistributedContext) -> None:
        """Refuse what cannot be done, before hours are spent on what comes first.

        Raises:
            UsageError: the processes cannot share a batch equally, or a step is to be one CUDA graph and cannot.
        """
        if self.is_graphed and isinstance(self.model, AdaptedBase) and self.model.boundary is not None:
            raise UsageError(
                "a step of two transformers is never the same twice, so no CUDA graph; give --cuda-graphs false"
            )
        if self.is_graphed and (not self.device.startswith("cuda") or context.world_size > 1):
            raise UsageError("a step can be one CUDA graph on one GPU alone; give --cuda-graphs false")
        for stage in self.curriculum:
            for objective in stage.objectives:
                check_shared(context.rank_and_size, objective.batch_size)

    def train(
        self,
        training_data: TrainingData,
        words: tuple[str, ...],
        autoencoder: nn.Module,
        context: DistributedContext,
        log: Log,
    ) -> CaptionedModel:
        """The averaged weights at the end of the curriculum."""
        captioned = self._build(words, autoencoder)
        torch._dynamo.config.recompile_limit = 64
        parallelize(captioned.get_submodule("transformer"), self.parallel, self.precision, self.is_compiled)
        log(f"transformer: {counted(self.optimization.num_steps, 'step')}")
        layout = self.model.segment_frames, self.model.context_frames
        curriculum = fit_to_videos(self.curriculum, training_data.longest, *layout, log)
        monitors = self._monitors(training_data, autoencoder, log)
        average = fit(
            self._objective(captioned, training_data, curriculum, context),
            self._plan(log),
            self.out / "transformer",
            actions=monitors.actions,
            milestones=tuple(stage.until for stage in self.curriculum),
            save_seconds=self.checkpoint.save_seconds,
            keep=self.checkpoint.keep_states,
            is_graphed=self.is_graphed,
        )
        learned = average.whole()
        if is_sharded(captioned):
            captioned = self._build(words, autoencoder)
        if context.is_first:
            captioned.load_state_dict(learned, strict=False)
            monitors.finish(self.optimization.num_steps, captioned)
        return captioned

    def _build(self, words: tuple[str, ...], autoencoder: nn.Module) -> CaptionedModel:
        return self.model.build(words, autoencoder).to(self.device)

    def _objective(
        self,
        captioned: CaptionedModel,
        training_data: TrainingData,
        curriculum: tuple[Stage, ...],
        context: DistributedContext,
    ) -> DenoisingObjective:
        """What is learned: to denoise, or the steps of a teacher."""
        given = captioned, training_data.examples, curriculum, self.seed, self.precision, context.rank_and_size
        if not isinstance(self.model, DistilledTransformer | DistilledAdapter):
            return DenoisingObjective(*given)
        teacher = self.model.load_teacher(self.device, self.precision)
        parallelize(cast(nn.Module, teacher.model), self.parallel, self.precision, self.is_compiled)
        return DistillationObjective(*given, teacher=teacher, student=self.model.student)

    def _monitors(self, training_data: TrainingData, autoencoder: nn.Module, log: Log) -> Monitors:
        unrolls = [objective.unroll for stage in self.curriculum for objective in stage.objectives]
        return Monitors(
            self.monitors,
            training_data.held_out,
            num_segments=max(unroll.num_segments for unroll in unrolls),
            segment_frames=self.model.segment_frames,
            context_frames=self.model.context_frames,
            precision=self.precision,
            codec=codec_of(autoencoder),
            sampling=self.sampling,
            frame_rate=float(dict(autoencoder.config)["frame_rate"]),  # type: ignore[arg-type]
            out=self.out,
            log=log,
        )

    def _plan(self, log: Log) -> Optimization:
        """How it is learned: a run that was begun sharded without Muon, also where it goes on alone."""
        if not self.parallel.fsdp or self.optimization.muon_learning_rate is None:
            return self.optimization
        log("the model is sharded, so AdamW learns all of it; Muon needs whole matrices")
        return replace(self.optimization, muon_learning_rate=None)
