"""From an experiment to the values that a run is made of; nobody reads the experiment after this."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from malt.codecs.registry import codec_of
from malt.pipelines.latent_groups import check_segment
from malt.precision import describe_precision
from malt.training.adapted_base import AdaptedBase
from malt.training.autoencoder_stage import AutoencoderStage, keep_autoencoder, ready_autoencoder
from malt.training.base_settings import fitted, patch_side
from malt.training.config import Experiment
from malt.training.distilled_adapter import DistilledAdapter, student_of_adapter
from malt.training.distilled_transformer import student_of
from malt.training.engine.parallel import DistributedContext, agreed_precision, by_the_first
from malt.training.model_spec import ModelSpec, NewTransformer
from malt.training.run_folder import read_words, write_words
from malt.training.sources.data_source import CaptionLimits, DataSource, Log, VideoFormat
from malt.training.sources.fit_curriculum import shortest_video, unrolled_frames
from malt.training.sources.videos import ShardData, VideoData
from malt.training.sources.worlds import WorldSource, WorldVideoSet, check_world
from malt.training.transformer_stage import TransformerStage
from malt.worlds.registry import open_world


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is done in a run, in its order: nothing of it is done yet, or it is gone on with."""

    source: DataSource
    autoencoder: nn.Module | None  # the one that is ready
    autoencoder_stage: AutoencoderStage
    transformer_stage: TransformerStage
    context: DistributedContext
    out: Path
    log: Log
    keeps_autoencoder: bool = True  # in the run's folder; not that of a base, which is kept where the base is

    def finish(self) -> Path:
        """Do what is left to do; returns the directory of the finished model."""
        result = self.out / self.transformer_stage.model.result
        autoencoder = self.autoencoder or self.autoencoder_stage.train(self.source, self.context, self.log)
        if self.context.is_first and self.keeps_autoencoder:
            keep_autoencoder(autoencoder, self.autoencoder_stage.folder)
        training_data = by_the_first(self.context, lambda: self.source.training_data(autoencoder))
        if self.context.is_first and read_words(self.out) is None:
            write_words(self.out, training_data.words)
        words = read_words(self.out) or training_data.words
        captioned = self.transformer_stage.train(training_data, words, autoencoder, self.context, self.log)
        if self.context.is_first:
            self.transformer_stage.model.write(captioned, autoencoder, result)
            self.log(f"the model is in {result}")
        return result


def assemble(experiment: Experiment, out: Path, device: str, context: DistributedContext, log: Log) -> Run:
    """The run of an experiment in the folder `out`.

    Raises:
        CheckpointError: the autoencoder that is to be used cannot be loaded.
        UsageError: the data cannot be learned from, segments end within what the autoencoder decodes at once, or the
            processes cannot share a batch equally.
    """
    precision = agreed_precision(experiment.precision, device)
    log(f"computing in {describe_precision(precision, device)}")
    model = model_spec(experiment, precision, device)
    source = open_source(experiment, model, out, log)
    sampling = experiment.sampling
    if isinstance(model, DistilledAdapter):
        sampling = replace(sampling, guidance_scale=1.0, memory_guidance_scale=1.0)  # which it has learned
    given = experiment.codec or experiment.start or experiment.base or experiment.teacher
    ready = ready_autoencoder(out / "autoencoder", Path(given) if given else None, source, device)
    if ready is not None:
        check_segment(codec_of(ready), model.segment_frames)
    autoencoder_stage = AutoencoderStage(
        size=experiment.autoencoder,
        objective=experiment.autoencoder_objective,
        optimization=experiment.autoencoder_optimization,
        checkpoint=experiment.checkpoint,
        seed=experiment.seed,
        precision=precision,
        is_compiled=experiment.compile,
        device=device,
        folder=out / "autoencoder",
        start=Path(experiment.autoencoder_start) if experiment.autoencoder_start else None,
    )
    transformer_stage = TransformerStage(
        model=model,
        curriculum=experiment.curriculum,
        optimization=experiment.optimization,
        checkpoint=experiment.checkpoint,
        monitors=experiment.monitors,
        sampling=sampling,
        parallel=experiment.parallel,
        seed=experiment.seed,
        precision=precision,
        is_compiled=experiment.compile,
        is_graphed=experiment.cuda_graphs,
        device=device,
        out=out,
    )
    transformer_stage.check(context)
    if ready is None:
        autoencoder_stage.check(context)
    return Run(
        source=source,
        autoencoder=ready,
        autoencoder_stage=autoencoder_stage,
        transformer_stage=transformer_stage,
        context=context,
        out=out,
        log=log,
        keeps_autoencoder=experiment.base is None,
    )


def model_spec(experiment: Experiment, precision: torch.dtype, device: str) -> ModelSpec:
    """What the experiment's transformer stage trains."""
    if experiment.base:
        base = Path(experiment.base)
        given: dict[str, Any] = {
            "base": base,
            "adapter": fitted(experiment.adapter, base),
            "sampling": experiment.sampling,
            "dtype": precision,
            "device": device,
            "seed": experiment.seed,
            "patch_size": patch_side(base),
            "shards": Path(experiment.data) if experiment.data else None,
        }
        return student_of_adapter(experiment, **given) if experiment.teacher else AdaptedBase(**given)
    if experiment.teacher:
        return student_of(experiment)
    return NewTransformer(
        size=experiment.transformer,
        caption_tokens=experiment.caption_tokens,
        actions=experiment.actions,
        start=Path(experiment.start) if experiment.start else None,
        is_text_encoder_new=experiment.fresh_text_encoder,
        sampling=experiment.sampling,
        seed=experiment.seed,
    )


def open_source(experiment: Experiment, model: ModelSpec, out: Path, log: Log) -> DataSource:
    """Where the experiment learns from.

    Raises:
        UsageError: there is no such world or folder, or nothing in it to learn from.
    """
    video_format = VideoFormat(experiment.frame_size, experiment.frame_rate, experiment.actions)
    curriculum, layout = experiment.curriculum, (model.segment_frames, model.context_frames)
    if experiment.data is None:
        world = open_world(experiment.world)
        check_world(world, video_format, experiment.world_frames, unrolled_frames(curriculum, *layout))
        videos = WorldVideoSet(
            num_videos=experiment.world_videos,
            num_frames=experiment.world_frames,
            return_share=experiment.world_return_share,
            num_held_out=max(experiment.monitors.validation_videos, experiment.monitors.sample_videos),
            actions=experiment.actions,
        )
        return WorldSource(world, out, videos, clip_frames=experiment.clip_frames, seed=experiment.seed, log=log)
    folder, captions = (
        Path(experiment.data),
        CaptionLimits(experiment.max_words, experiment.caption_tokens - 1, experiment.folder_captions),
    )
    if any(folder.glob("index-*.json")):
        return ShardData(
            folder,
            video_format=video_format,
            patch_size=model.patch_size,
            captions=captions,
            seed=experiment.seed,
            log=log,
        )
    return VideoData(
        folder,
        out,
        video_format=video_format,
        clip_frames=experiment.clip_frames,
        num_needed=shortest_video(curriculum, *layout),
        patch_size=model.patch_size,
        captions=captions,
        seed=experiment.seed,
        log=log,
    )
