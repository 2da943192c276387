"""A memory for a frozen base, and its rivals on the same base, for as much computing as the proof's memories had: 240 TFLOP.

    python experiments/wan_base.py --out runs/wan-base --minutes 8
    malt train experiments/adapters.py:memory --base runs/wan-base/pipeline --out runs/adapters/memory

`memory` learns an adapter alone. `context` learns low-rank changes of the same size without a memory, behind as many latent
frames as the base knows how to see. Numbers of steps are what the computing allows (benchmarks/budget.py).
"""

from dataclasses import replace

from malt.training.config import AdapterConfig, Experiment, MonitorConfig, Sampling
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import DropoutConfig, NoiseConfig, Objective, UnrollConfig
from malt.training.recipes import default

RANK = 16
UNWATCHED = MonitorConfig(validate_every=0, sample_every=0)
# What was seen long ago and comes out in the last two of ten segments.
RETURN = Objective(
    batch_size=16,
    unroll=UnrollConfig(num_segments=10, denoise_segments=2, bptt_segments=4, first_segment_prob=0.1),
    noise=NoiseConfig(logit_mean=0.9, num_noise_samples=3),
    dropout=DropoutConfig(caption_dropout=0.7, context_dropout=0.02),
)
# Behind one to five remembered segments.
EARLY = replace(
    RETURN,
    unroll=replace(RETURN.unroll, num_segments=6, denoise_segments=5, first_segment_prob=0.5),
    noise=NoiseConfig(logit_mean=0.8),
    dropout=replace(RETURN.dropout, caption_dropout=0.4),
)
BEGIN = Objective(batch_size=48, unroll=UnrollConfig(first_segment_prob=0.9), noise=NoiseConfig(logit_mean=0.7))


def memory() -> Experiment:
    """The last segment and eight pooled ones in every layer, and low-rank changes of the base's own layers."""
    adapter = AdapterConfig(memory="hierarchical", memory_size=8, lora_rank=RANK)
    return _trained(1000, adapter, (RETURN, EARLY, RETURN, BEGIN))


def context() -> Experiment:
    """No memory: a segment behind as many latent frames as a clip of the base has, less its own."""
    adapter = AdapterConfig(memory="none", context_frames=8, lora_rank=RANK)
    return _trained(1000, adapter, (Objective(batch_size=32, dropout=DropoutConfig(caption_dropout=0.7)), BEGIN))


def _trained(steps: int, adapter: AdapterConfig, objectives: tuple[Objective, ...]) -> Experiment:
    return replace(
        default(),
        adapter=adapter,
        optimization=Optimization(num_steps=steps, learning_rate=2e-3, decay_from=0.6, ema_decay=0.99),
        curriculum=(Stage(until=steps, objectives=objectives),),
        sampling=Sampling(),
        monitors=UNWATCHED,
        compile=False,
    )
