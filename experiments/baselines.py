"""Every way to make a long video, trained alike so that they can be compared: same data, same start, same computing.

    malt train experiments/baselines.py:trunk --out runs/trunk
    malt train experiments/baselines.py:keyframes --start runs/trunk/pipeline --out runs/keyframes

`trunk` is what all of them begin with. Then each learns for as many steps as 80 TFLOP of matrix products allow
(benchmarks/budget.py). The sliding window has as many latent frames in view as malt's context, segment and memory
together; key frames and a rolling window see fewer, full sees all.
"""

from dataclasses import replace
from pathlib import Path

import malt
from malt.training.config import Experiment, MonitorConfig, Sampling, TransformerSize
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import BaselineConfig, NoiseConfig, Objective, UnrollConfig
from malt.training.recipes import ALONE, BEGIN, POOLED, RETURN, default

UNWATCHED = MonitorConfig(validate_every=0, sample_every=0)
NOISY = NoiseConfig(logit_mean=0.7)


def trunk() -> Experiment:
    """Single segments from nothing, before any of them differs."""
    steps = 1200
    return replace(
        default(),
        codec=str(Path(malt.__file__).parent / "assets" / "teacher"),
        transformer=TransformerSize(memory="none"),
        optimization=Optimization(
            num_steps=steps, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.8, ema_decay=0.99
        ),
        curriculum=(Stage(until=steps, objectives=(ALONE, BEGIN)),),
        sampling=Sampling(),
        monitors=UNWATCHED,
    )


def malt_rollout() -> Experiment:
    """Segments with a memory."""
    # As many operations as RETURN, twice the noisy segments.
    often = replace(RETURN, batch_size=8, noise=replace(RETURN.noise, num_noise_samples=3))
    # Behind one to five remembered segments: what a film of 128 frames mostly is, and unrolls of ten never are.
    early = replace(
        RETURN,
        batch_size=8,
        unroll=replace(RETURN.unroll, num_segments=6, denoise_segments=5, first_segment_prob=0.5),
        noise=NoiseConfig(logit_mean=0.8),
        dropout=replace(RETURN.dropout, caption_dropout=0.4),
    )
    return _trained(354, POOLED, (often, early, often, BEGIN))


def sliding_window() -> Experiment:
    """Segments behind a long context."""
    return _trained(510, TransformerSize(memory="none", context_frames=13), (Objective(batch_size=20),))


def keyframes() -> Experiment:
    """Key frames, and the frames between two of them."""
    key_frames = Objective(
        batch_size=48,
        unroll=UnrollConfig(first_segment_prob=0.5),
        noise=NOISY,
        baseline=BaselineConfig(frame_stride=4),
    )
    between = Objective(batch_size=48, noise=NOISY, baseline=BaselineConfig(num_suffix_frames=1))
    return _trained(708, TransformerSize(memory="none"), (key_frames, between))


def diffusion_forcing() -> Experiment:
    """A rolling window, every frame at a noise level of its own."""
    objective = Objective(
        batch_size=32, unroll=UnrollConfig(first_segment_prob=0.5), baseline=BaselineConfig(level_per_frame=True)
    )
    return _trained(597, TransformerSize(memory="none", segment_frames=8), (objective,))


def full() -> Experiment:
    """All frames at once; longer videos behind the first two thirds of what was made before."""
    begin = Objective(batch_size=5, unroll=UnrollConfig(first_segment_prob=0.9), noise=NOISY)
    go_on = Objective(
        batch_size=5,
        unroll=UnrollConfig(first_segment_prob=0.1),
        noise=NOISY,
        baseline=BaselineConfig(num_prefix_frames=32),
    )
    return _trained(714, TransformerSize(memory="none", segment_frames=48), (begin, go_on))


def _trained(steps: int, size: TransformerSize, objectives: tuple[Objective, ...]) -> Experiment:
    return replace(
        default(),
        transformer=size,
        optimization=Optimization(
            num_steps=steps, learning_rate=1e-3, muon_learning_rate=1e-3, decay_from=0.4, ema_decay=0.99
        ),
        curriculum=(Stage(until=steps, objectives=objectives),),
        sampling=Sampling(),
        monitors=UNWATCHED,
    )
