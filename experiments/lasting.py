"""Training for length on one GPU: the packaged model goes on with what makes things stay what they were.

    malt train experiments/lasting.py:lasting --start src/malt/assets/teacher --device cuda --out runs/lasting

That is 2,532 steps, 8 minutes of an H200. The first two segments stay in the memory for good (a sink). A model learns to
read them there when the segments between them and what comes out are left out (`far_segments`), so that nothing else tells
of it; and it learns to trust them more than what it has made itself when some videos are unrolled over its own segments.

It began from the packaged model of its day. What ships are the weights that came of it, read with six pooled segments and an
archive of four, neither of which has weights.
"""

from dataclasses import replace

from malt.training.config import Experiment, MonitorConfig, Sampling
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import DropoutConfig, NoiseConfig, Objective, SelfForcingConfig, UnrollConfig
from malt.training.recipes import default

SINK = 2  # segments
NUM_STEPS = 2532
BATCH = 128  # videos of an unroll

RARELY_TOLD = DropoutConfig(caption_dropout=0.7, context_dropout=0.02)
NOISE = NoiseConfig(logit_mean=0.9, num_noise_samples=2)
# The memory is as full as it ever gets, and what comes out was seen in the sink or in the segments since.
FULL = Objective(
    batch_size=BATCH,
    unroll=UnrollConfig(
        num_segments=SINK + 11, denoise_segments=2, bptt_segments=4, far_segments=SINK, first_segment_prob=0.0
    ),
    noise=NOISE,
    dropout=RARELY_TOLD,
)
# Few segments since: what comes out was mostly seen in the sink alone.
AFAR = replace(FULL, unroll=replace(FULL.unroll, num_segments=SINK + 4))
OWN = replace(FULL, self_forcing=SelfForcingConfig(prob=0.5, num_steps=2, noise_range=(0.3, 0.9)))
FOLLOW = Objective(
    batch_size=BATCH // 4,
    unroll=UnrollConfig(num_segments=8, first_segment_prob=0.5),
    noise=NoiseConfig(logit_mean=0.7),
    dropout=RARELY_TOLD,
)
BEGIN = Objective(batch_size=4 * BATCH, unroll=UnrollConfig(first_segment_prob=0.9), noise=NoiseConfig(logit_mean=0.7))


def lasting() -> Experiment:
    """The packaged model, gone on from; nothing of its size changes but the sink."""
    experiment = default()
    return replace(
        experiment,
        transformer=replace(experiment.transformer, memory_config={"sink": SINK}),
        optimization=Optimization(
            num_steps=NUM_STEPS,
            learning_rate=1e-3,
            muon_learning_rate=1.2e-3,
            decay_from=0.5,
            ema_decay=0.998,
        ),
        curriculum=(
            Stage(until=NUM_STEPS * 2 // 3, objectives=(FULL, FOLLOW, AFAR, BEGIN)),
            Stage(until=NUM_STEPS, objectives=(OWN, AFAR, FULL, BEGIN, OWN, FOLLOW)),
        ),
        world_videos=4000,
        world_frames=832,
        world_return_share=0.8,
        monitors=MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1),
        sampling=Sampling(memory_guidance_scale=2.0),
        compile=False,
        cuda_graphs=True,
    )
