"""Recipes for the data sets that long video is published on; they are planned and dry-run here, and were never run whole."""

from dataclasses import replace

from malt.training.config import AutoencoderSize, Experiment, MonitorConfig, Sampling, TransformerSize
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.autoencoding import ReconstructionConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import NoiseConfig, Objective, UnrollConfig


def ucf101() -> Experiment:
    """UCF-101 (`--data`, with CLASS/NAME.avi): 128 frames of 128x128 with class names as captions, for 8 GPUs.

    A video of 128 frames is 32 latent frames of 64 tokens, in eight segments. The memory has room for all earlier ones.
    """
    noise = NoiseConfig(logit_mean=0.4)
    alone = Objective(batch_size=256, noise=noise)
    unrolled = Objective(
        batch_size=64,
        unroll=UnrollConfig(num_segments=8, denoise_segments=4, bptt_segments=3, first_segment_prob=0.5),
        noise=noise,
    )
    return Experiment(
        frame_size=(128, 128),
        frame_rate=25.0,
        folder_captions=True,
        max_words=500,
        caption_tokens=20,
        autoencoder=AutoencoderSize(channels=(64, 256, 384), encoder_blocks=(2, 2), decoder_blocks=(2, 3)),
        autoencoder_objective=ReconstructionConfig(batch_size=64, contrast=0.0, spectrum=0.3, prior=1e-3),
        autoencoder_optimization=Optimization(
            num_steps=100_000, learning_rate=5e-4, muon_learning_rate=1e-3, ema_decay=0.9995, warmup_steps=1000
        ),
        clip_frames=16,
        transformer=TransformerSize(
            num_layers=20,
            num_attention_heads=16,
            attention_head_dim=64,
            caption_dim=256,
            modulation_dim=256,
            memory="hierarchical",
            memory_size=8,
        ),
        optimization=Optimization(
            num_steps=120_000, learning_rate=3e-4, muon_learning_rate=1e-3, ema_decay=0.9999, warmup_steps=2000
        ),
        curriculum=(
            Stage(until=60_000, objectives=(alone,)),
            Stage(until=120_000, objectives=(alone, unrolled)),
        ),
        monitors=MonitorConfig(validate_every=5000, validation_videos=64, sample_every=10_000, sample_frames=128),
        sampling=Sampling(num_inference_steps=50, guidance_scale=1.5),
    )


def kinetics600() -> Experiment:
    """Kinetics-600 (`--data`, with CLASS/NAME.mp4): as `ucf101`, with more words and twice the steps."""
    experiment = ucf101()
    steps = 2 * experiment.optimization.num_steps
    return replace(
        experiment,
        max_words=1500,
        optimization=replace(experiment.optimization, num_steps=steps),
        curriculum=tuple(replace(stage, until=2 * stage.until) for stage in experiment.curriculum),
    )
