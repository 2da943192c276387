"""Recipes: functions that return a frozen `Experiment`, by their names or from a file of one's own."""

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from malt.errors import UsageError
from malt.training.benchmark_recipes import kinetics600, ucf101
from malt.training.config import (
    BASE_TOKENS,
    BASE_WORDS,
    AdapterConfig,
    AutoencoderSize,
    Experiment,
    MonitorConfig,
    Sampling,
    TransformerSize,
    stretched,
)
from malt.training.distillation_recipes import distill, distill_adapter, distill_tiny, distill_videos
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import ParallelConfig
from malt.training.maze_recipe import maze
from malt.training.objectives.autoencoding import ReconstructionConfig
from malt.training.objectives.curriculum import CONSTANT_MEMORY, METHOD_FRAMES, Stage, frames_curriculum, with_segments
from malt.training.objectives.objective import DropoutConfig, NoiseConfig, Objective, SelfForcingConfig, UnrollConfig
from malt.training.options import override

# Real pictures have no shapes before a calm background: what is weighed instead are the spectra of small patches.
REAL_PICTURES = ReconstructionConfig(batch_size=8, contrast=0.0, spectrum=0.3, prior=1e-3)


ALONE = Objective(batch_size=48)  # single segments
BEGIN = Objective(batch_size=48, unroll=UnrollConfig(first_segment_prob=0.9), noise=NoiseConfig(logit_mean=0.7))
# What a caption tells need not be remembered, so most videos of several segments go without.
FOLLOW = Objective(
    batch_size=6,
    unroll=UnrollConfig(num_segments=8, first_segment_prob=0.5),
    noise=NoiseConfig(logit_mean=0.7),
    dropout=DropoutConfig(caption_dropout=0.7),
)
# What was seen long ago and comes out in the last two of ten segments; before those the memory is only unrolled.
RETURN = Objective(
    batch_size=12,
    unroll=UnrollConfig(num_segments=10, denoise_segments=2, bptt_segments=4, first_segment_prob=0.1),
    noise=NoiseConfig(logit_mean=0.9),
    dropout=DropoutConfig(caption_dropout=0.7, context_dropout=0.02),
)
MOSTLY_RETURN = (RETURN, FOLLOW, RETURN, RETURN, BEGIN)
POOLED = TransformerSize(memory="hierarchical", memory_size=8)


def default() -> Experiment:
    """What the model that ships began as: its runs as one plan of about three hours on one core, never run in one piece."""
    return Experiment(
        transformer=POOLED,
        optimization=Optimization(num_steps=6000, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.8),
        curriculum=(Stage(until=2200, objectives=(ALONE, BEGIN)), Stage(until=6000, objectives=MOSTLY_RETURN)),
        world_videos=3200,
        world_frames=208,
        world_return_share=0.8,
        sampling=Sampling(memory_guidance_scale=2.0),
    )


def finetune() -> Experiment:
    """More from the weights of another run (`--start`): mostly segments that end where something hidden comes out."""
    return replace(
        default(),
        optimization=Optimization(num_steps=2650, learning_rate=1e-3, muon_learning_rate=1e-3, decay_from=0.75),
        curriculum=(Stage(until=2650, objectives=MOSTLY_RETURN),),
    )


def videos() -> Experiment:
    """One's own videos (`--data`), with captions or without: 64x64 pixels, 16 frames a second, from 64 frames to 1,024.

    The last four segments are denoised and the last three writes learned, however many there are, so that a step needs
    no more memory in the last stage than in the first. Frames are counted by malt's own autoencoder, 16 a segment.
    """
    noise = NoiseConfig(logit_mean=0.7)
    unrolled, alone = replace(CONSTANT_MEMORY, noise=noise), Objective(batch_size=32, noise=noise)
    return Experiment(
        autoencoder_objective=REAL_PICTURES,
        caption_tokens=256,  # captioners write 50 to 200 words
        max_words=4000,
        curriculum=frames_curriculum(
            METHOD_FRAMES, frames_per_segment=16, steps=(1000, 600, 500, 350, 250), unrolled=unrolled, beside=(alone,)
        ),
        transformer=TransformerSize(memory="hierarchical"),
    )


def drive() -> Experiment:
    """On-board video with steering and throttle (`--data`): nearly two hours on one core with bfloat16 matrix units."""
    alone = Objective(batch_size=32)
    short = Objective(batch_size=10, unroll=UnrollConfig(num_segments=3))
    # Long enough that every place of the memory is written; what comes before the last two is only unrolled.
    long = Objective(
        batch_size=8,
        unroll=UnrollConfig(num_segments=10, denoise_segments=2, bptt_segments=3),
        noise=NoiseConfig(num_noise_samples=3),
    )
    return Experiment(
        frame_size=(64, 96),
        frame_rate=20.0,
        actions=("steering", "throttle"),
        # Noise as large as this keeps out of the latents what no transformer could predict.
        autoencoder_objective=replace(REAL_PICTURES, latent_noise=0.25),
        autoencoder_optimization=Optimization(
            num_steps=2400, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, ema_decay=0.998, decay_from=0.5
        ),
        clip_frames=8,
        optimization=Optimization(num_steps=3300, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.6),
        curriculum=(Stage(until=2300, objectives=(alone,)), Stage(until=3300, objectives=(alone, short, long))),
        transformer=TransformerSize(memory="hierarchical"),
        sampling=Sampling(guidance_scale=1.0),  # nothing is captioned, so there is nothing to be guided by
    )


def tiny() -> Experiment:
    """Everything at its smallest: it shows in a minute that the parts fit, and learns next to nothing."""
    return Experiment(
        autoencoder=AutoencoderSize(channels=(8, 16, 16)),
        autoencoder_objective=ReconstructionConfig(batch_size=2),
        autoencoder_optimization=Optimization(num_steps=4),
        transformer=TransformerSize(num_layers=2, num_attention_heads=2, attention_head_dim=16),
        optimization=Optimization(num_steps=4, muon_learning_rate=1e-3),
        curriculum=(
            Stage(until=2, objectives=(Objective(batch_size=2),)),
            Stage(until=4, objectives=(Objective(batch_size=2, unroll=UnrollConfig(num_segments=3)),)),
        ),
        world_videos=4,
        world_frames=64,
        monitors=MonitorConfig(
            validate_every=4, validation_videos=2, sample_every=4, sample_videos=2, sample_frames=20
        ),
        sampling=Sampling(num_inference_steps=1),
        precision="float32",
        compile=False,
    )


def adapt() -> Experiment:
    """A memory for a pretrained base (`--base`, `--data`): from single segments to unrolls of 24, the last ones its own.

    Every third layer remembers the last segment and six pooled ones. The last two segments are denoised and the last two
    writes learned, so that a step needs no more memory in the last stage than in the second. Text is looked up or encoded
    by the base's own encoder; nothing of the base is changed or saved.
    """
    noise = NoiseConfig(logit_mean=0.8)
    alone = Objective(batch_size=16, unroll=UnrollConfig(first_segment_prob=1.0, begins_alone=True), noise=noise)
    unrolled = Objective(
        batch_size=16,
        unroll=UnrollConfig(num_segments=6, denoise_segments=2, bptt_segments=2, first_segment_prob=0.1),
        noise=noise,
        dropout=DropoutConfig(caption_dropout=0.3),
    )
    own = replace(unrolled, self_forcing=SelfForcingConfig(prob=0.5))
    return Experiment(
        adapter=AdapterConfig(memory_size=6, every=3, segment_frames=3),
        optimization=Optimization(num_steps=3000, learning_rate=2e-4, warmup_steps=200, ema_decay=0.998),
        curriculum=(
            Stage(until=600, objectives=(alone, with_segments(unrolled, 2))),
            Stage(until=1600, objectives=(alone, unrolled, unrolled)),
            Stage(until=2400, objectives=(alone, with_segments(unrolled, 12), with_segments(unrolled, 12))),
            Stage(until=3000, objectives=(alone, with_segments(own, 12), with_segments(own, 24))),
        ),
        max_words=BASE_WORDS,
        caption_tokens=BASE_TOKENS,
        parallel=ParallelConfig(activation_checkpointing=True),
        sampling=Sampling(num_inference_steps=30, guidance_scale=5.0, shift=5.0),
        compile=False,
    )


def adapt_tiny() -> Experiment:
    """An adapter at its smallest, learned from the synthetic world: it shows in a minute that the parts fit."""
    return replace(
        tiny(), adapter=AdapterConfig(memory_size=2, lora_rank=2), max_words=BASE_WORDS, caption_tokens=BASE_TOKENS
    )


RECIPES = {
    "default": default,
    "finetune": finetune,
    "videos": videos,
    "drive": drive,
    "maze": maze,
    "tiny": tiny,
    "adapt": adapt,
    "adapt-tiny": adapt_tiny,
    "distill": distill,
    "distill-videos": distill_videos,
    "distill-adapter": distill_adapter,
    "distill-tiny": distill_tiny,
    "ucf101": ucf101,
    "kinetics600": kinetics600,
}


def find_recipe(name: str) -> Callable[[], Experiment]:
    """A recipe by its name, or a function NAME of a Python file that returns an experiment, as FILE.py:NAME.

    Raises:
        UsageError: there is no such recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    file, _, function = name.rpartition(":")
    if file.endswith(".py") or function.endswith(".py"):
        return _recipe_in(Path(file or function), function if file else "")
    near = get_close_matches(name, RECIPES, n=1)
    meant = f", did you mean {near[0]!r}" if near else ""
    raise UsageError(f"there is no recipe {name!r}{meant}; choose one of {', '.join(RECIPES)}, or give FILE.py:NAME")


def _recipe_in(file: Path, function: str) -> Callable[[], Experiment]:
    """The function of a file; what begins with an underscore is no recipe."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}; check the name")
    found = runpy.run_path(str(file))
    recipes = {name: value for name, value in found.items() if getattr(value, "__module__", "") == "<run_path>"}
    names = [name for name, value in recipes.items() if callable(value) and not name.startswith("_")]
    wanted = function.replace("-", "_")
    if wanted not in names:
        raise UsageError(f"{file} has the recipes {', '.join(names) or 'none'}; name one as {file}:NAME")
    recipe: Callable[[], Experiment] = recipes[wanted]
    return recipe


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
