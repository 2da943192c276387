"""A model of Memory Maze (arXiv:2210.13383) from the packaged `maze`, as far as an hour and a half of one core goes.

    python benchmarks/memory_maze_prediction.py videos trajectories videos
    malt train experiments/memory_maze.py:pictures --data videos --out runs/memory-maze-pictures
    malt train experiments/memory_maze.py:walks --data videos --start src/malt/assets/maze \
        --codec runs/memory-maze-pictures/pipeline --out runs/memory-maze

First its autoencoder gets used to these pictures, then its transformer to these walks. The benchmark gives 400 frames and asks
for the 400 behind them, so most of what is learned lies behind unrolls of 11 to 32 segments of 16 frames.
"""

from dataclasses import replace

from malt.training.config import Experiment, MonitorConfig
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import NoiseConfig, Objective, UnrollConfig
from malt.training.recipes import find_recipe

MOTION = (0.316, 0.249)  # radians that a turn of 1 turns, cells that a step of 1 rolls
NUM_STEPS = 900

NOISE = NoiseConfig(logit_mean=0.5, num_noise_samples=3, memory_noise=0.0)
ALONE = Objective(batch_size=32, noise=NoiseConfig(logit_mean=0.5))
BACK = Objective(
    batch_size=8,
    unroll=UnrollConfig(num_segments=11, denoise_segments=2, bptt_segments=2, first_segment_prob=0.1),
    noise=NOISE,
)
LONG = replace(BACK, unroll=replace(BACK.unroll, num_segments=32))


def pictures() -> Experiment:
    """The autoencoder of `maze`, made used to other pictures; next to nothing of a transformer."""
    experiment = find_recipe("maze")()
    return replace(
        experiment,
        autoencoder_start="src/malt/assets/maze",
        autoencoder_objective=replace(experiment.autoencoder_objective, contrast=0.0),
        autoencoder_optimization=replace(experiment.autoencoder_optimization, num_steps=1500),
        optimization=Optimization(num_steps=1),
        curriculum=(Stage(until=1, objectives=(ALONE,)),),
        transformer=replace(experiment.transformer, memory_size=64, motion=MOTION),
        monitors=MonitorConfig(validate_every=0, sample_every=0),
    )


def walks() -> Experiment:
    """The transformer of `maze`, gone on from behind that autoencoder."""
    experiment = find_recipe("maze")()
    return replace(
        experiment,
        transformer=replace(experiment.transformer, memory_size=64, motion=MOTION),
        optimization=Optimization(
            num_steps=NUM_STEPS, learning_rate=1.2e-3, muon_learning_rate=1.5e-3, decay_from=0.5, ema_decay=0.995
        ),
        curriculum=(
            Stage(until=NUM_STEPS // 6, objectives=(BACK, ALONE)),
            Stage(until=NUM_STEPS, objectives=(BACK, LONG, BACK, ALONE)),
        ),
        monitors=MonitorConfig(validate_every=0, sample_every=0),
    )
