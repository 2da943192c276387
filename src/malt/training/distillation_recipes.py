"""Recipes for students of few steps; what is not said here, their teacher says."""

from dataclasses import replace

from malt.training.config import BASE_TOKENS, BASE_WORDS, Experiment, MonitorConfig, Sampling
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import StudentConfig
from malt.training.objectives.objective import (
    DistillationConfig,
    DropoutConfig,
    NoiseConfig,
    Objective,
    SelfForcingConfig,
    UnrollConfig,
)

# A student meets what generation shows it. What makes up for the noise of training is the teacher's.
BEGIN = Objective(
    batch_size=8,
    unroll=UnrollConfig(first_segment_prob=0.95),
    noise=NoiseConfig(context_noise=0.1, memory_write_noise=0.0, memory_noise=0.0),
    dropout=DropoutConfig(caption_dropout=0.1, memory_dropout=0.0, context_dropout=0.0),
)
EARLY = replace(
    BEGIN,
    batch_size=4,
    unroll=UnrollConfig(num_segments=3, denoise_segments=2, bptt_segments=1, first_segment_prob=0.8),
)
OWN = replace(EARLY, self_forcing=SelfForcingConfig(prob=0.7))
# The memory is full, and of what it holds the caption often tells nothing.
LATE = replace(
    BEGIN,
    unroll=UnrollConfig(num_segments=9, denoise_segments=1, bptt_segments=1, first_segment_prob=0.2),
    dropout=replace(BEGIN.dropout, caption_dropout=0.3),
)


def distill() -> Experiment:
    """A student of four steps, from a model of the synthetic world; steps of one, two and eight are practised in a quarter.

    A third of the turns begin a film, a third meet a full memory. It takes three quarters of an hour on one core with bfloat16
    matrix units.
    """
    turns = (
        BEGIN,
        LATE,
        OWN,
        in_steps(BEGIN, 2),
        BEGIN,
        LATE,
        EARLY,
        in_steps(LATE, 8),
        BEGIN,
        OWN,
        LATE,
        in_steps(EARLY, 1),
    )
    return Experiment(
        curriculum=(Stage(until=640, objectives=turns),),
        optimization=Optimization(
            num_steps=640, learning_rate=5e-4, muon_learning_rate=5e-4, warmup_steps=20, ema_decay=0.99
        ),
        monitors=MonitorConfig(validate_every=0, sample_every=200),
        sampling=Sampling(num_inference_steps=4),
        world_videos=480,
        world_frames=208,
        world_return_share=0.8,
    )


def distill_videos() -> Experiment:
    """The same of a model of one's own videos (`--data`), of any length: unrolls are cut to what there is."""
    return replace(distill(), world_return_share=0.0)


def distill_adapter() -> Experiment:
    """A student of four steps of a base with a memory (`--data`): its adapter learns on, and the base stays as it is.

    A third of the turns begin a film, as the base does: behind nothing.
    """
    alone = replace(BEGIN, unroll=UnrollConfig(first_segment_prob=1.0, begins_alone=True))
    turns = (alone, LATE, OWN, alone, EARLY, LATE)
    return replace(
        distill(),
        curriculum=(Stage(until=600, objectives=turns),),
        optimization=Optimization(num_steps=600, learning_rate=3e-4, warmup_steps=20, ema_decay=0.99),
        student=StudentConfig(teacher_steps=24),
        world_return_share=0.0,
        max_words=BASE_WORDS,
        caption_tokens=BASE_TOKENS,
        parallel=ParallelConfig(activation_checkpointing=True),
        compile=False,
    )


def distill_tiny() -> Experiment:
    """A student at its smallest, of a model of the recipe `tiny`: it shows in a minute that the parts fit."""
    alone = replace(in_steps(BEGIN, 2), batch_size=2)
    return replace(
        distill(),
        curriculum=(Stage(until=4, objectives=(alone, replace(in_steps(OWN, 2), batch_size=2))),),
        optimization=Optimization(num_steps=4, muon_learning_rate=1e-3),
        student=StudentConfig(teacher_steps=4),
        sampling=Sampling(num_inference_steps=2),
        monitors=MonitorConfig(validate_every=0, sample_every=4, sample_videos=2, sample_frames=20),
        world_videos=4,
        world_frames=64,
        world_return_share=0.0,
        precision="float32",
        compile=False,
    )


def in_steps(objective: Objective, count: int) -> Objective:
    """The same for a student that makes so many steps."""
    return replace(objective, distillation=DistillationConfig(student_steps=count))
