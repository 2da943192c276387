"""A memory for a frozen base, and its rivals on the same base, for as much computing as the proof's memories had: 240 TFLOP.

    python experiments/wan_base.py --out runs/wan-base --minutes 8
    malt adapt experiments/adapters.py:memory --base runs/wan-base/pipeline --device cuda --out runs/adapters/memory
    malt adapt experiments/adapters.py:context --base runs/wan-base/pipeline --device cuda --out runs/adapters/context
    malt adapt experiments/adapters.py:anchor --base runs/wan-base/pipeline --device cuda --out runs/adapters/anchor

Each learns a LoRA of the same size. `memory` learns it with a memory; `context` without one, behind as many latent frames
as the base has seen at once; `anchor` so too, of which the first two are a film's first ones and some of the others the
model's own, mistakes and all (the idea of Stable Video Infinity, arXiv:2510.09212). Numbers of steps are what the computing
allows (benchmarks/budget.py). On a CPU add --cuda-graphs false; fewer steps are --optimization.num-steps. The result is
OUT/adapter, a megabyte and a half. The natively trained memory is `malt_rollout` of experiments/baselines.py.
"""

from dataclasses import replace

from malt.training.config import AdapterConfig, Experiment, MonitorConfig, Sampling
from malt.training.distillation_recipes import distill_adapter
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import StudentConfig
from malt.training.objectives.objective import (
    BaselineConfig,
    DropoutConfig,
    NoiseConfig,
    Objective,
    SelfForcingConfig,
    UnrollConfig,
)
from malt.training.recipes import default

RANK = 16
VIEW = 8  # latent frames before a segment that the base's longest clips leave room for
ANCHORS = 2
RARELY_TOLD = DropoutConfig(caption_dropout=0.7, context_dropout=0.02)
# What was seen long ago and comes out in the last two of ten segments.
RETURN = Objective(
    batch_size=8,
    unroll=UnrollConfig(num_segments=10, denoise_segments=2, bptt_segments=4, first_segment_prob=0.1),
    noise=NoiseConfig(logit_mean=0.9, num_noise_samples=3),
    dropout=RARELY_TOLD,
)
# Behind one to five remembered segments.
EARLY = Objective(
    batch_size=8,
    unroll=UnrollConfig(num_segments=6, denoise_segments=5, bptt_segments=4, first_segment_prob=0.5),
    noise=NoiseConfig(logit_mean=0.8),
    dropout=replace(RARELY_TOLD, caption_dropout=0.4),
)
# Some are unrolled over the model's own segments, against drift.
OWN = replace(RETURN, self_forcing=SelfForcingConfig(prob=0.5, num_steps=2, noise_range=(0.3, 0.9)))
BEGIN = Objective(
    batch_size=48,
    unroll=UnrollConfig(first_segment_prob=1.0, begins_alone=True),
    noise=NoiseConfig(logit_mean=0.7),
)
BEHIND = Objective(batch_size=64, noise=NoiseConfig(logit_mean=0.9), dropout=RARELY_TOLD)
ANCHORED = Objective(
    batch_size=48,
    unroll=UnrollConfig(num_segments=4, denoise_segments=1, far_segments=1, first_segment_prob=0.0),
    noise=NoiseConfig(logit_mean=0.9),
    dropout=RARELY_TOLD,
    self_forcing=SelfForcingConfig(prob=0.5, num_steps=2, noise_range=(0.3, 0.9)),
    baseline=BaselineConfig(num_anchor_frames=ANCHORS),
)


def memory() -> Experiment:
    """The last segment and eight pooled ones, beside the keys of every layer's self-attention."""
    adapter = AdapterConfig(memory="hierarchical", memory_size=8, context_frames=1, lora_rank=RANK)
    return _trained(1700, adapter, (RETURN, EARLY, RETURN, RETURN, OWN, BEGIN))


def sparse() -> Experiment:
    """As `memory`, in every second layer alone, with a LoRA of twice the rank on the same layers."""
    adapter = AdapterConfig(
        memory="hierarchical", memory_size=8, every=2, context_frames=1, lora_rank=2 * RANK, lora_every=2
    )
    return _trained(1400, adapter, (RETURN, EARLY, RETURN, RETURN, OWN, BEGIN))


def third() -> Experiment:
    """As `sparse`, in every third layer."""
    adapter = AdapterConfig(
        memory="hierarchical", memory_size=8, every=3, context_frames=1, lora_rank=3 * RANK, lora_every=3
    )
    return _trained(2060, adapter, (RETURN, EARLY, RETURN, RETURN, OWN, BEGIN))


def student() -> Experiment:
    """Four steps in place of twelve guided ones, of `memory`: malt distill runs/adapters/memory/adapter --recipe ..."""
    experiment, steps = distill_adapter(), 160
    turns = tuple(replace(turn, batch_size=4) for turn in experiment.curriculum[0].objectives)
    return replace(
        experiment,
        curriculum=(Stage(until=steps, objectives=turns),),
        optimization=Optimization(
            num_steps=steps,
            learning_rate=1e-3,
            muon_learning_rate=5e-4,
            warmup_steps=20,
            decay_from=0.5,
            ema_decay=0.95,
        ),
        student=StudentConfig(teacher_steps=8),
        world_videos=480,
        world_return_share=0.8,
        monitors=MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1),
        parallel=ParallelConfig(),
    )


def slots() -> Experiment:
    """A few slots a layer, of a narrow width, read behind each block."""
    adapter = AdapterConfig(
        memory="slots", memory_size=16, memory_width=24, read="behind", every=2, context_frames=1, lora_rank=RANK
    )
    return _trained(2050, adapter, (RETURN, EARLY, RETURN, RETURN, OWN, BEGIN))


def context() -> Experiment:
    """No memory: a segment behind as much as the base has seen at once."""
    return _trained(1450, AdapterConfig(memory="none", context_frames=VIEW, lora_rank=RANK), (BEHIND, BEHIND, BEGIN))


def anchor() -> Experiment:
    """No memory: anchors from long ago before the context, some of it the model's own."""
    adapter = AdapterConfig(memory="none", context_frames=VIEW, lora_rank=RANK)
    return _trained(750, adapter, (ANCHORED, ANCHORED, BEGIN))


def _trained(steps: int, adapter: AdapterConfig, objectives: tuple[Objective, ...]) -> Experiment:
    return replace(
        default(),
        adapter=adapter,
        optimization=Optimization(
            num_steps=steps, learning_rate=2e-3, muon_learning_rate=1e-3, decay_from=0.5, ema_decay=0.99
        ),
        curriculum=(Stage(until=steps, objectives=objectives),),
        world_videos=3200,
        sampling=Sampling(),
        monitors=MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1),
        compile=False,
        cuda_graphs=True,
    )
