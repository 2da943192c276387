"""Students of the packaged models on one GPU: batches eight times as large as those of `malt distill` on a processor.

    malt distill teacher --recipe experiments/students_on_a_gpu.py:default --device cuda --out runs/student
    malt distill drive --recipe experiments/students_on_a_gpu.py:drive --data SHARDS --device cuda --out runs/quick-drive
    malt distill maze --recipe experiments/students_on_a_gpu.py:maze --device cuda --out runs/quick-maze

SHARDS is what `malt encode VIDEOS --codec src/malt/assets/drive` made of the recordings that `drive` learned from. `drive` as it
ships is such a student, so the second needs the folder of the model that taught it. Each step is one CUDA graph.
`--optimization.num-steps 200` makes a run shorter, and the rate falls to nothing by its end all the same.
"""

from dataclasses import replace

from malt.training.config import Experiment, MonitorConfig, Sampling
from malt.training.distillation_recipes import BEGIN, EARLY, distill, in_steps
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import StudentConfig
from malt.training.objectives.objective import Objective, SelfForcingConfig, UnrollConfig

SINK, POOLED, ARCHIVE = 2, 6, 4  # segments and frames that the memory of `teacher` holds, beside the last segment
UNGUIDED = StudentConfig(guidance_scales=(1.0, 1.0), memory_guidance_scales=(1.0, 1.0))  # a teacher that makes one pass


def default() -> Experiment:
    """The default model, a student of `teacher`: half of the turns begin a film, where most of a student's mistakes are.

    The others meet a memory that is full to its archive, and half of these videos are the student's own.
    """
    begin = replace(BEGIN, batch_size=96, dropout=replace(BEGIN.dropout, caption_dropout=0.05))
    early = replace(EARLY, batch_size=48)
    own = replace(early, self_forcing=SelfForcingConfig(prob=0.7))
    full = UnrollConfig(
        num_segments=SINK + POOLED + ARCHIVE + 2,
        denoise_segments=1,
        bptt_segments=1,
        far_segments=SINK,
        first_segment_prob=0.1,
    )
    late = replace(BEGIN, batch_size=64, unroll=full, dropout=replace(BEGIN.dropout, caption_dropout=0.3))
    own_late = _own(replace(late, batch_size=48))
    turns = (
        begin,
        own_late,
        in_steps(begin, 2),
        own,
        begin,
        late,
        begin,
        own,
        begin,
        own_late,
        in_steps(early, 1),
        in_steps(replace(late, batch_size=32), 8),
    )
    return replace(
        _student(turns, num_steps=400),
        student=StudentConfig(usual_scale_prob=0.7),
        world_videos=2000,
        world_frames=448,
        world_return_share=0.8,
    )


def drive() -> Experiment:
    """A student of `drive`: it is not guided, so its teacher makes one pass a step. A third of the turns are of two steps."""
    begin = replace(BEGIN, batch_size=96, unroll=UnrollConfig(first_segment_prob=0.4))
    late = replace(
        BEGIN,
        batch_size=48,
        unroll=UnrollConfig(num_segments=9, denoise_segments=2, bptt_segments=1, first_segment_prob=0.1),
    )
    own = _own(replace(late, batch_size=32))
    turns = (
        begin,
        own,
        in_steps(own, 2),
        late,
        own,
        in_steps(begin, 2),
        begin,
        own,
        in_steps(own, 2),
        in_steps(begin, 1),
    )
    return replace(_student(turns, num_steps=600), student=UNGUIDED, world_return_share=0.0)


def maze() -> Experiment:
    """A student of `maze`: most unrolls end where something comes into sight again, half of the videos being its own."""
    begin = replace(BEGIN, batch_size=64, unroll=UnrollConfig(first_segment_prob=0.5))
    back = replace(
        BEGIN,
        batch_size=32,
        unroll=UnrollConfig(num_segments=14, denoise_segments=2, bptt_segments=1, first_segment_prob=0.1),
    )
    own = _own(replace(back, batch_size=24, unroll=replace(back.unroll, num_segments=10)))
    turns = (back, own, in_steps(own, 2), back, begin, own, in_steps(back, 2), own, in_steps(begin, 1))
    return replace(
        _student(turns, num_steps=500), student=UNGUIDED, world_videos=400, world_frames=320, world_return_share=0.8
    )


def _own(objective: Objective) -> Objective:
    """The same, of which half of the videos are unrolled over segments that the student made."""
    return replace(objective, self_forcing=SelfForcingConfig(prob=0.5))


def _student(turns: tuple[Objective, ...], num_steps: int) -> Experiment:
    """What all students have in common."""
    return replace(
        distill(),
        curriculum=(Stage(until=num_steps, objectives=turns),),
        optimization=Optimization(
            num_steps=num_steps,
            learning_rate=8e-4,
            muon_learning_rate=1e-3,
            warmup_steps=20,
            decay_from=0.4,
            ema_decay=0.98,
        ),
        sampling=Sampling(num_inference_steps=4),
        monitors=MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1),
        compile=False,
        cuda_graphs=True,
    )
