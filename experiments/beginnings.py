"""More training of the packaged model on one GPU, for how films begin: some began without the wall that every scene has.

    malt train experiments/beginnings.py:beginnings --start src/malt/assets/teacher --device cuda --out runs/beginnings

It began from the packaged model of its day; what ships are the weights that came of it, after 7 minutes of a shared H200.
What is where is decided in the first of a segment's steps, near pure noise, so half of the turns begin films and a
quarter of them see hardly anything else. The other turns keep what the model can: a full memory, as large as the one it
ships with, long gaps, and its own segments.
"""

import runpy
from dataclasses import replace
from pathlib import Path

from malt.training.config import Experiment
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import DropoutConfig, NoiseConfig, Objective, UnrollConfig

lasting = runpy.run_path(str(Path(__file__).with_name("lasting.py")))
FULL, AFAR, OWN, FOLLOW, BATCH = (lasting[name] for name in ("FULL", "AFAR", "OWN", "FOLLOW", "BATCH"))
NUM_STEPS = 1400
MEMORY = {"sink": 2, "archive": 4, "num_pooled": 6}  # as it ships

BEGIN = Objective(batch_size=4 * BATCH, unroll=UnrollConfig(first_segment_prob=0.95), noise=NoiseConfig(logit_mean=0.7))
FIRST_STEP = replace(BEGIN, noise=NoiseConfig(logit_mean=2.5))
# Behind one to five remembered segments: what a film of 128 frames mostly is.
EARLY = Objective(
    batch_size=BATCH // 2,
    unroll=UnrollConfig(num_segments=6, denoise_segments=5, bptt_segments=4, first_segment_prob=0.8),
    noise=NoiseConfig(logit_mean=0.9),
    dropout=DropoutConfig(caption_dropout=0.4, context_dropout=0.02),
)
# Longer than what the memory rolls on over, so that its archive is read.
LONG = replace(FULL, unroll=replace(FULL.unroll, num_segments=20))


def beginnings() -> Experiment:
    """The packaged model, gone on from; nothing of its size changes."""
    experiment: Experiment = lasting["lasting"]()
    return replace(
        experiment,
        transformer=replace(experiment.transformer, memory_size=None, memory_config=MEMORY),
        optimization=Optimization(
            num_steps=NUM_STEPS,
            learning_rate=8e-4,
            muon_learning_rate=1e-3,
            decay_from=0.3,
            ema_decay=0.998,
        ),
        curriculum=(Stage(until=NUM_STEPS, objectives=(BEGIN, LONG, FIRST_STEP, EARLY, BEGIN, OWN, EARLY, AFAR)),),
    )
