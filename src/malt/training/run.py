"""A whole experiment, from nothing to a pipeline directory: autoencoder, encoded videos, transformer, export."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from malt.codecs.choose import codec_of
from malt.errors import CheckpointError
from malt.models.autoencoder import AutoencoderMalt
from malt.pipelines.autoencoder import load_autoencoder
from malt.precision import describe_precision
from malt.training.autoencoder import AutoencoderTask, latent_statistics
from malt.training.chance import check_part
from malt.training.curriculum import fit_to_videos
from malt.training.distributed import Ranks, agreed_precision, current_ranks, is_sharded, launched, prepare
from malt.training.experiment import Experiment
from malt.training.export import build_captioned, write_pipeline
from malt.training.folder import claimed, read_words, write_experiment, write_words
from malt.training.loop import fit
from malt.training.optimizer import Optimization
from malt.training.passage_source import Passage
from malt.training.reconstruction import reconstruction
from malt.training.source import Material, Source, Tell
from malt.training.transformer import Captioned, TransformerTask
from malt.training.video_sources import Shards, Videos
from malt.training.watch import Watch

Result = TypeVar("Result")
JOURNAL_EVERY = 20  # steps
LONGEST_WAIT = timedelta(days=7)  # of the others for what the first process does alone, such as encoding all videos


def train(experiment: Experiment, out: Path, device: str = "cpu", tell: Tell = print, *, recipe: str = "") -> Path:
    """Run or resume `experiment` in the folder `out`; returns the directory of the finished `MaltPipeline`.

    Started by torchrun, all processes share every batch, and the first one does what is done once.

    Raises:
        UsageError: another process trains in the folder, or the data cannot be learned from.
    """
    with launched(on_gpu=device.startswith("cuda")) as ranks, claimed(out) if ranks.first else nullcontext():
        tell = tell if ranks.first else _silently
        source = open_source(experiment, out, tell)
        precision = agreed_precision(experiment.precision, device)
        tell(f"computing in {describe_precision(precision, device)}")
        ready = ready_autoencoder(experiment, source, out / "autoencoder" / "final", device)
        _check_batches(experiment, ranks, with_autoencoder=ready is None)
        if ranks.first:
            write_experiment(out, experiment, recipe)
        autoencoder = ready or train_autoencoder(experiment, source, out / "autoencoder", device, precision, tell)
        if ranks.first:
            _keep_autoencoder(autoencoder, out / "autoencoder")
        material = _by_the_first(ranks, lambda: source.material(autoencoder))
        if ranks.first and read_words(out) is None:
            write_words(out, material.words)
        captioned = train_transformer(experiment, autoencoder, material, out, device, precision, tell)
        if ranks.first:
            write_pipeline(experiment, captioned, autoencoder, out / "pipeline")
            tell(f"the model is in {out / 'pipeline'}")
    return out / "pipeline"


def open_source(experiment: Experiment, out: Path, tell: Tell) -> Source:
    """Where the experiment learns from.

    Raises:
        UsageError: there is no such folder, or nothing in it to learn from.
    """
    if experiment.data is None:
        return Passage(experiment, out, tell)
    folder = Path(experiment.data)
    if any(folder.glob("index-*.json")):
        return Shards(experiment, folder, tell)
    return Videos(experiment, folder, out, tell)


def ready_autoencoder(experiment: Experiment, source: Source, final: Path, device: str) -> nn.Module | None:
    """The autoencoder that need not be trained: the run's own, finished, or one that was given; None where there is none.

    Raises:
        CheckpointError: the one that was given cannot be loaded.
        UsageError: it is not the one that made the shards.
    """
    if (final / "config.json").exists():
        return load_autoencoder(final).to(device)
    given = experiment.start or experiment.codec
    if given is None and not isinstance(source, Shards):
        return None
    autoencoder = load_autoencoder(Path(given) if given else None).to(device)
    source.describe(autoencoder)
    return autoencoder


def train_autoencoder(
    experiment: Experiment, source: Source, folder: Path, device: str, precision: torch.dtype, tell: Tell
) -> AutoencoderMalt:
    """A new autoencoder, with the statistics of its latents; how well it reconstructs goes to `reconstruction.json`."""
    clips = _by_the_first(current_ranks(), lambda: source.clips(device))
    torch.manual_seed(experiment.seed)
    model = AutoencoderMalt(**vars(experiment.autoencoder)).to(device)
    tell(f"autoencoder: {experiment.autoencoder_optimization.num_steps} steps")
    objective, part = experiment.autoencoder_objective, current_ranks().part
    task = AutoencoderTask(model, clips.clips, objective, experiment.seed, precision, part)
    if experiment.compile:
        task.compile()
    plan = experiment.autoencoder_optimization
    fit(task, plan, folder, **_keeping(experiment, plan)).copy_to(model)
    mean, std = latent_statistics(model, clips.typical())
    model.register_to_config(latent_mean=tuple(mean), latent_std=tuple(std))
    source.describe(model)
    if current_ranks().first:
        _tell_reconstruction(model, clips.held_out(), folder, tell)
    return model


def load_start(captioned: Captioned, pipeline: Path, text_encoder: bool = True) -> None:
    """Overwrite the untrained weights with those of a pipeline directory; its text encoder's only where that is asked.

    Raises:
        CheckpointError: when they are of another shape.
    """
    parts = {
        "transformer": pipeline / "transformer" / "diffusion_pytorch_model.safetensors",
    }
    if text_encoder:
        parts["text_encoder"] = pipeline / "text_encoder" / "model.safetensors"
    for name, path in parts.items():
        try:
            getattr(captioned, name).load_state_dict(load_file(path), strict=name == "transformer")
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"cannot start from {pipeline}: its {name} is missing or of another shape") from error


def train_transformer(
    experiment: Experiment,
    autoencoder: nn.Module,
    material: Material,
    out: Path,
    device: str,
    precision: torch.dtype,
    tell: Tell,
) -> Captioned:
    """The averaged weights at the end of the curriculum."""
    words = read_words(out) or material.words
    captioned = build_captioned(experiment, words, codec_of(autoencoder)).to(device)
    if experiment.start:
        load_start(captioned, Path(experiment.start), not experiment.fresh_text_encoder)
    torch._dynamo.config.recompile_limit = 64
    prepare(captioned.transformer, experiment.scale, precision, experiment.compile)
    tell(f"transformer: {experiment.optimization.num_steps} steps")
    ranks = current_ranks()
    size = experiment.transformer
    curriculum = fit_to_videos(experiment.curriculum, material.longest, size.segment_frames, size.context_frames, tell)
    task = TransformerTask(
        captioned,
        material.examples,
        curriculum,
        experiment.seed,
        precision,
        part=ranks.part,
    )
    watch = Watch(experiment, material, autoencoder, out, tell, precision)
    milestones = tuple(stage.until for stage in experiment.curriculum)
    plan = _plan(experiment, tell)
    average = fit(
        task,
        plan,
        out / "transformer",
        actions=watch.actions,
        milestones=milestones,
        **_keeping(experiment, plan),
    )
    learned = average.whole()
    if is_sharded(captioned):
        captioned = build_captioned(experiment, words, codec_of(autoencoder)).to(device)
    if ranks.first:
        captioned.load_state_dict(learned, strict=False)
        watch.finish(plan.num_steps, captioned)
    return captioned


def _keeping(experiment: Experiment, plan: Optimization) -> dict[str, Any]:
    """How often the loop tells and saves, and how many states it keeps."""
    watching = experiment.watching
    return {
        "journal_every": min(JOURNAL_EVERY, plan.num_steps),
        "save_seconds": watching.save_seconds,
        "keep": watching.keep_states,
    }


def _plan(experiment: Experiment, tell: Tell) -> Optimization:
    """How the transformer is learned: a run that was begun sharded without Muon, also where it goes on alone."""
    plan = experiment.optimization
    if not experiment.scale.sharded or plan.muon_learning_rate is None:
        return plan
    tell("the model is sharded, so AdamW learns all of it; Muon needs whole matrices")
    return replace(plan, muon_learning_rate=None)


def _tell_reconstruction(model: AutoencoderMalt, held_out: Tensor | None, folder: Path, tell: Tell) -> None:
    if held_out is not None:
        figures = reconstruction(codec_of(model), held_out.split(4))
        (folder / "reconstruction.json").write_text(json.dumps(figures))
        tell(f"autoencoder: {figures['psnr']:.1f} dB PSNR and {figures['ssim']:.3f} SSIM on held-out clips")


def _keep_autoencoder(autoencoder: nn.Module, folder: Path) -> None:
    """Keep the autoencoder with the run; what was decoded for its training is no longer needed."""
    if not (folder / "final").exists():
        partial = folder / "final.partial"
        autoencoder.save_pretrained(partial)  # type: ignore[operator]
        partial.rename(folder / "final")
    shutil.rmtree(folder.parent / "frames", ignore_errors=True)


def _check_batches(experiment: Experiment, ranks: Ranks, with_autoencoder: bool) -> None:
    """Refuse batches that the processes cannot share equally, before hours are spent on what comes first."""
    if with_autoencoder:
        check_part(ranks.part, experiment.autoencoder_objective.batch_size)
    for stage in experiment.curriculum:
        for objective in stage.objectives:
            check_part(ranks.part, objective.batch_size)


def _by_the_first(ranks: Ranks, work: Callable[[], Result]) -> Result:
    """Done by the first process, then by all others, who wait however long it takes and find what it has written."""
    if ranks.world == 1:
        return work()
    waiting = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    if not ranks.first:
        dist.barrier(group=waiting)
    result = work()
    if ranks.first:
        dist.barrier(group=waiting)
    return result


def _silently(sentence: str) -> None:
    """What processes but the first say."""
