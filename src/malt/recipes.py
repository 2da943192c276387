"""Named experiments: functions that return a frozen `Experiment`; an ablation is a function of one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from malt.errors import UsageError
from malt.training.autoencoder import AutoencoderObjective
from malt.training.experiment import AutoencoderSize, Experiment, Sampling, TransformerSize, Watching, stretched
from malt.training.fields import override
from malt.training.optimizer import Optimization
from malt.training.transformer import Objective, Stage

# Real pictures have no shapes before a calm background: what is weighed instead are the spectra of small patches.
REAL_PICTURES = AutoencoderObjective(batch_size=8, contrast=0.0, spectrum=0.3, prior=1e-3)


BEGIN = Objective(num_segments=1, batch_size=48, start_share=0.9, level_mean=0.7)
# What a caption tells need not be remembered, so most walks go without.
WALK = Objective(num_segments=8, batch_size=6, start_share=0.5, level_mean=0.7, caption_dropout=0.7)


def default() -> Experiment:
    """The model that ships, as its two runs put together: three and a half hours on one core with bfloat16 matrix units."""
    alone = Objective(num_segments=1, batch_size=48)
    return Experiment(
        transformer=TransformerSize(memory="hierarchical"),
        optimization=Optimization(num_steps=5600, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.8),
        curriculum=(
            Stage(until=2200, objectives=(alone, BEGIN)),
            Stage(until=5600, objectives=(WALK, WALK, WALK, BEGIN)),
        ),
        bank_videos=3200,
        bank_frames=208,
    )


def without_memory(experiment: Experiment) -> Experiment:
    """The ablation `none`: the same network, data and budget with nothing but the short-term context."""
    return replace(experiment, transformer=replace(experiment.transformer, memory="none"))


def further() -> Experiment:
    """More of everything from the weights of another run (`--start`): how films begin, then walks of eight segments."""
    return replace(
        default(),
        optimization=Optimization(num_steps=3900, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.7),
        curriculum=(
            Stage(until=500, objectives=(BEGIN,)),
            Stage(until=3900, objectives=(WALK, WALK, WALK, BEGIN)),
        ),
    )


def videos() -> Experiment:
    """One's own videos (`--data`), with captions or without: the default's sizes, at 64x64 and 16 frames a second."""
    walk = Objective(num_segments=3, batch_size=16)
    long_walk = Objective(num_segments=6, batch_size=8)
    return Experiment(
        autoencoder_objective=REAL_PICTURES,
        caption_tokens=40,
        curriculum=(
            Stage(until=1100, objectives=(Objective(num_segments=1, batch_size=48),)),
            Stage(until=1800, objectives=(walk,)),
            Stage(until=2700, objectives=(Objective(num_segments=1, batch_size=48), long_walk)),
        ),
    )


def drive() -> Experiment:
    """On-board video with steering and throttle (`--data`): an hour on one core of a CPU with bfloat16 matrix units."""
    alone = Objective(num_segments=1, batch_size=32, level_mean=0.7)
    walk = Objective(num_segments=6, batch_size=5, level_mean=0.7)
    return Experiment(
        frame_size=(64, 96),
        frame_rate=20.0,
        actions=("steering", "throttle"),
        autoencoder_objective=REAL_PICTURES,
        autoencoder_optimization=Optimization(
            num_steps=3000, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, ema_decay=0.998, decay_from=0.5
        ),
        clip_frames=8,
        optimization=Optimization(num_steps=2200, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.6),
        curriculum=(Stage(until=1100, objectives=(alone,)), Stage(until=2200, objectives=(alone, walk))),
        transformer=TransformerSize(memory="hierarchical"),
        sampling=Sampling(guidance_scale=1.0),  # nothing is captioned, so there is nothing to be guided by
    )


def tiny() -> Experiment:
    """Everything at its smallest: it shows in a minute that the parts fit, and learns next to nothing."""
    return Experiment(
        autoencoder=AutoencoderSize(channels=(8, 16, 16)),
        autoencoder_objective=AutoencoderObjective(batch_size=2),
        autoencoder_optimization=Optimization(num_steps=4),
        transformer=TransformerSize(num_layers=2, num_attention_heads=2, attention_head_dim=16),
        optimization=Optimization(num_steps=4, muon_learning_rate=1e-3),
        curriculum=(
            Stage(until=2, objectives=(Objective(num_segments=1, batch_size=2),)),
            Stage(until=4, objectives=(Objective(num_segments=3, batch_size=2),)),
        ),
        bank_videos=4,
        bank_frames=64,
        watching=Watching(validate_every=4, validation_videos=2, sample_every=4, sample_videos=2, sample_frames=20),
        sampling=Sampling(num_inference_steps=1),
        precision="float32",
        compile=False,
    )


RECIPES = {
    "default": default,
    "none": lambda: without_memory(default()),
    "further": further,
    "videos": videos,
    "drive": drive,
    "tiny": tiny,
}


def resolve(experiment: Experiment, options: Mapping[str, Sequence[str]], others: Sequence[str] = ()) -> Experiment:
    """The experiment with some fields set from words; its stages are stretched when the number of steps alone is set.

    `others` are options that are no fields but could have been meant.

    Raises:
        UsageError: a field does not exist, or what is asked for makes no sense.
    """
    steps = options.get("optimization.num-steps", options.get("optimization.num_steps"))
    if steps and steps[0].isdecimal() and not any(name.startswith("curriculum.") for name in options):
        num_steps = int(steps[0])
        try:
            plan, stages = (
                replace(experiment.optimization, num_steps=num_steps),
                stretched(experiment.curriculum, num_steps),
            )
        except ValueError as error:
            raise UsageError(str(error)) from error
        experiment = replace(experiment, optimization=plan, curriculum=stages)
    return override(experiment, options, others)
