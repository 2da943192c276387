"""From an experiment to the values that a run is made of; nobody reads the experiment after this."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from malt.precision import describe_precision
from malt.training.autoencoder_stage import AutoencoderStage, keep_autoencoder, ready_autoencoder
from malt.training.config import Experiment, Sampling
from malt.training.engine.parallel import DistributedContext, agreed_precision, by_the_first
from malt.training.pipeline_export import write_pipeline
from malt.training.run_folder import read_words, write_words
from malt.training.sources.data_source import CaptionLimits, Log, Source, VideoFormat
from malt.training.sources.fit_curriculum import shortest_video, unrolled_frames
from malt.training.sources.videos import Shards, Videos
from malt.training.sources.worlds import Passage, check_world
from malt.training.transformer_stage import TransformerStage


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is done in a run, in its order: nothing of it is done yet, or it is gone on with."""

    source: Source
    autoencoder: nn.Module | None  # the one that is ready
    autoencoder_stage: AutoencoderStage
    transformer_stage: TransformerStage
    sampling: Sampling
    actions: tuple[str, ...]
    ranks: DistributedContext
    out: Path
    tell: Log

    def finish(self) -> Path:
        """Do what is left to do; returns the directory of the finished `MaltPipeline`."""
        autoencoder = self.autoencoder or self.autoencoder_stage.train(self.source, self.ranks, self.tell)
        if self.ranks.first:
            keep_autoencoder(autoencoder, self.autoencoder_stage.folder)
        material = by_the_first(self.ranks, lambda: self.source.material(autoencoder))
        if self.ranks.first and read_words(self.out) is None:
            write_words(self.out, material.words)
        words = read_words(self.out) or material.words
        captioned = self.transformer_stage.train(material, words, autoencoder, self.ranks, self.tell)
        if self.ranks.first:
            write_pipeline(captioned, autoencoder, self.out / "pipeline", self.sampling, self.actions)
            self.tell(f"the model is in {self.out / 'pipeline'}")
        return self.out / "pipeline"


def assemble(experiment: Experiment, out: Path, device: str, ranks: DistributedContext, tell: Log) -> Run:
    """The run of an experiment in the folder `out`.

    Raises:
        CheckpointError: the autoencoder that is to be used cannot be loaded.
        UsageError: the data cannot be learned from, or the processes cannot share a batch equally.
    """
    precision = agreed_precision(experiment.precision, device)
    tell(f"computing in {describe_precision(precision, device)}")
    source = open_source(experiment, out, tell)
    given = experiment.start or experiment.codec
    ready = ready_autoencoder(out / "autoencoder", Path(given) if given else None, source, device)
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
    )
    transformer_stage = TransformerStage(
        size=experiment.transformer,
        caption_tokens=experiment.caption_tokens,
        num_actions=len(experiment.actions),
        start=Path(experiment.start) if experiment.start else None,
        is_text_encoder_new=experiment.fresh_text_encoder,
        curriculum=experiment.curriculum,
        optimization=experiment.optimization,
        checkpoint=experiment.checkpoint,
        watching=experiment.watching,
        sampling=experiment.sampling,
        scale=experiment.scale,
        seed=experiment.seed,
        precision=precision,
        is_compiled=experiment.compile,
        device=device,
        out=out,
    )
    for stage in (transformer_stage, *([] if ready else [autoencoder_stage])):
        stage.check(ranks)
    return Run(
        source=source,
        autoencoder=ready,
        autoencoder_stage=autoencoder_stage,
        transformer_stage=transformer_stage,
        sampling=experiment.sampling,
        actions=experiment.actions,
        ranks=ranks,
        out=out,
        tell=tell,
    )


def open_source(experiment: Experiment, out: Path, tell: Log) -> Source:
    """Where the experiment learns from.

    Raises:
        UsageError: there is no such folder, or nothing in it to learn from.
    """
    video_format = VideoFormat(experiment.frame_size, experiment.frame_rate, experiment.actions)
    size, curriculum = experiment.transformer, experiment.curriculum
    layout = size.segment_frames, size.context_frames
    if experiment.data is None:
        check_world(video_format, experiment.bank_frames, unrolled_frames(curriculum, *layout))
        return Passage(
            out,
            clip_frames=experiment.clip_frames,
            num_videos=experiment.bank_videos,
            num_frames=experiment.bank_frames,
            return_share=experiment.bank_return_share,
            num_held_out=max(experiment.watching.validation_videos, experiment.watching.sample_videos),
            seed=experiment.seed,
            tell=tell,
        )
    folder, captions = Path(experiment.data), CaptionLimits(experiment.max_words, experiment.caption_tokens - 1)
    if any(folder.glob("index-*.json")):
        return Shards(
            folder,
            video_format=video_format,
            patch_size=size.patch_size,
            captions=captions,
            seed=experiment.seed,
            tell=tell,
        )
    return Videos(
        folder,
        out,
        video_format=video_format,
        clip_frames=experiment.clip_frames,
        num_needed=shortest_video(curriculum, *layout),
        patch_size=size.patch_size,
        captions=captions,
        seed=experiment.seed,
        tell=tell,
    )
