"""The recipe of a model that walks through the world `maze` and comes back to rooms that are the same."""

import math

from malt.training.config import Experiment, Sampling, TransformerSize
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.autoencoding import ReconstructionConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import NoiseConfig, Objective, UnrollConfig


def maze() -> Experiment:
    """Walks through the world `maze`, from the weights of `drive`: turning, walking, and coming back to rooms seen before.

    The memory is read by where one is, so most unrolls end where something comes into sight again.
    """
    noise = NoiseConfig(logit_mean=0.5, num_noise_samples=3, memory_noise=0.0)
    alone = Objective(batch_size=32, noise=NoiseConfig(logit_mean=0.5))
    back = Objective(
        batch_size=8,
        unroll=UnrollConfig(num_segments=11, denoise_segments=2, bptt_segments=2, first_segment_prob=0.1),
        noise=noise,
    )
    return Experiment(
        world="maze",
        actions=("turn", "walk"),
        autoencoder_objective=ReconstructionConfig(
            batch_size=8, latent_noise=0.2, contrast=2.0, spectrum=0.3, prior=1e-3
        ),
        autoencoder_optimization=Optimization(
            num_steps=3000, learning_rate=1e-3, muon_learning_rate=1e-3, ema_decay=0.99, decay_from=0.5
        ),
        clip_frames=8,
        optimization=Optimization(
            num_steps=1300, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.6, ema_decay=0.997
        ),
        curriculum=(
            Stage(until=250, objectives=(alone, alone, back)),
            Stage(until=1300, objectives=(back, back, back, back, alone)),
        ),
        transformer=TransformerSize(memory="places", memory_size=32, motion=(math.radians(6.0), 0.2)),
        world_videos=480,
        world_frames=224,
        world_return_share=0.8,
        sampling=Sampling(guidance_scale=1.0),
    )
