"""More training of the packaged maze on one GPU: larger batches, longer ways, and its own segments.

    python experiments/maze_bank.py --out runs/rooms --videos 3000 --frames 368 --processes 15 --device cuda
    malt train experiments/rooms.py:rooms --start MAZE --device cuda --out runs/rooms

MAZE is the packaged maze of before, whose weights are in the project's history; the one that ships went through this twice.

`maze_bank.py` paints and encodes what is learned from, in many processes; without it `malt train` does so in one.
"""

from dataclasses import replace

from malt.training.config import Experiment, MonitorConfig
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import NoiseConfig, Objective, SelfForcingConfig, UnrollConfig
from malt.training.recipes import find_recipe

NUM_STEPS = 3000
BATCH = 96

NOISE = NoiseConfig(logit_mean=0.5, num_noise_samples=3, memory_noise=0.0)
ALONE = Objective(batch_size=4 * BATCH, noise=NoiseConfig(logit_mean=0.5))
BACK = Objective(
    batch_size=BATCH,
    unroll=UnrollConfig(num_segments=11, denoise_segments=2, bptt_segments=2, first_segment_prob=0.1),
    noise=NOISE,
)
# As many views as the memory holds have been seen, and some have been let go.
LONG = replace(BACK, unroll=replace(BACK.unroll, num_segments=22))
OWN = replace(BACK, self_forcing=SelfForcingConfig(prob=0.5, num_steps=2, noise_range=(0.3, 0.9)))


def rooms() -> Experiment:
    """The packaged maze, gone on from; nothing of its size changes."""
    experiment = find_recipe("maze")()
    return replace(
        experiment,
        transformer=replace(experiment.transformer, memory_size=64),
        optimization=Optimization(
            num_steps=NUM_STEPS, learning_rate=1.2e-3, muon_learning_rate=1.5e-3, decay_from=0.5, ema_decay=0.998
        ),
        curriculum=(
            Stage(until=NUM_STEPS // 2, objectives=(BACK, ALONE, BACK, LONG)),
            Stage(until=NUM_STEPS, objectives=(BACK, OWN, LONG, ALONE, BACK, LONG)),
        ),
        world_videos=3000,
        world_frames=368,
        monitors=MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1),
        compile=False,
        cuda_graphs=True,
    )
