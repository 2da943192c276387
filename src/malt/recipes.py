"""Named experiments: functions that return a frozen `Experiment`; an ablation is a function of one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from malt.errors import UsageError
from malt.training.autoencoder import AutoencoderObjective
from malt.training.experiment import AutoencoderSize, Experiment, Sampling, TransformerSize, Watching, stretched
from malt.training.fields import override
from malt.training.objective import CONSTANT_MEMORY, METHOD_FRAMES, frames_curriculum
from malt.training.optimizer import Optimization
from malt.training.transformer import Objective, Stage

# Real pictures have no shapes before a calm background: what is weighed instead are the spectra of small patches.
REAL_PICTURES = AutoencoderObjective(batch_size=8, contrast=0.0, spectrum=0.3, prior=1e-3)


BEGIN = Objective(num_segments=1, batch_size=48, start_share=0.9, level_mean=0.7)
# What a caption tells need not be remembered, so most walks go without.
WALK = Objective(num_segments=8, batch_size=6, start_share=0.5, level_mean=0.7, caption_dropout=0.7)

# What was seen long ago and comes out in the last two of ten segments; before those the memory is only walked.
RETURN = Objective(
    num_segments=10,
    batch_size=12,
    denoise_segments=2,
    bptt_segments=4,
    start_share=0.1,
    level_mean=0.9,
    caption_dropout=0.7,
    context_dropout=0.02,
)
MOSTLY_RETURN = (RETURN, WALK, RETURN, RETURN, BEGIN)
POOLED = TransformerSize(memory="hierarchical", memory_size=8)


def default() -> Experiment:
    """The model that ships, its runs put together as one plan of about three hours on one core; never run in one piece."""
    alone = Objective(num_segments=1, batch_size=48)
    return Experiment(
        transformer=POOLED,
        optimization=Optimization(num_steps=6000, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.8),
        curriculum=(Stage(until=2200, objectives=(alone, BEGIN)), Stage(until=6000, objectives=MOSTLY_RETURN)),
        bank_videos=3200,
        bank_frames=208,
        bank_return_share=0.8,
        sampling=Sampling(memory_guidance_scale=2.0),
    )


def without_memory(experiment: Experiment) -> Experiment:
    """The ablation `none`: the same network, data and budget with nothing but the short-term context."""
    return replace(experiment, transformer=replace(experiment.transformer, memory="none"))


def further() -> Experiment:
    """More from the weights of another run (`--start`): mostly walks that end where something hidden comes out."""
    return replace(
        default(),
        optimization=Optimization(num_steps=2650, learning_rate=1e-3, muon_learning_rate=1e-3, decay_from=0.75),
        curriculum=(Stage(until=2650, objectives=MOSTLY_RETURN),),
    )


def proof_trunk() -> Experiment:
    """What every way to make a long video begins with (`--start`): single segments from nothing, before any of them differs."""
    steps, alone = 1200, Objective(num_segments=1, batch_size=48)
    return replace(
        default(),
        codec=str(Path(__file__).parent / "assets" / "default"),
        transformer=TransformerSize(memory="none"),
        optimization=Optimization(
            num_steps=steps, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.8, ema_decay=0.99
        ),
        curriculum=(Stage(until=steps, objectives=(alone, BEGIN)),),
        sampling=Sampling(),
        watching=Watching(validate_every=0, sample_every=0),
    )


# What walks may learn by beside their own objective: a little more of `further` with and without it says whether it helps.
HELPS: dict[str, dict[str, Any]] = {
    "as-it-is": {},
    "own-segments": {"own_share": 0.5},
    "regularised": {"memory_regularisation": 0.1},
    "regularised-plain": {"memory_regularisation": 2e-6, "normalize_memory": False},
}


def more(**changes: Any) -> Experiment:
    """150 steps on the packaged model (`--start`), in turn on returns and beginnings; `changes` are those of the returns."""
    return replace(
        further(),
        optimization=Optimization(
            num_steps=150,
            learning_rate=7e-4,
            muon_learning_rate=7e-4,
            warmup_steps=20,
            decay_from=0.3,
            ema_decay=0.98,
        ),
        curriculum=(Stage(until=150, objectives=(replace(RETURN, **changes), BEGIN)),),
        watching=Watching(validate_every=150, validation_videos=32, sample_every=0),
    )


RETURN_OFTEN = replace(RETURN, batch_size=8, draws=3)  # as many operations as RETURN, twice the noisy segments
# Behind one to five remembered segments: what a film of 128 frames mostly is, and walks that end after ten never are.
EARLY = replace(
    RETURN, num_segments=6, batch_size=8, denoise_segments=5, start_share=0.5, level_mean=0.8, caption_dropout=0.4
)

# What each way to make a long video is trained with to be measured: steps, network, objectives in turn. The steps are as many as
# 80 TFLOP of matrix products allow (benchmarks/budget.py): as much computing for every one of them. The window has as many latent
# frames in view as malt's context, segment and memory together; key frames and a rolling window see fewer, full sees all.
PROOF: dict[str, tuple[int, TransformerSize, tuple[Objective, ...]]] = {
    "malt": (354, POOLED, (RETURN_OFTEN, EARLY, RETURN_OFTEN, BEGIN)),
    "sliding_window": (510, TransformerSize(memory="none", context_frames=13), (Objective(batch_size=20),)),
    "keyframes": (
        708,
        TransformerSize(memory="none"),
        (
            Objective(batch_size=48, frame_stride=4, start_share=0.5, level_mean=0.7),
            Objective(batch_size=48, known_last=1, level_mean=0.7),
        ),
    ),
    "diffusion_forcing": (
        597,
        TransformerSize(memory="none", segment_frames=8),
        (Objective(batch_size=32, level_per_frame=True, start_share=0.5),),
    ),
    "full": (
        714,
        TransformerSize(memory="none", segment_frames=48),
        (
            Objective(batch_size=5, start_share=0.9, level_mean=0.7),
            Objective(batch_size=5, start_share=0.1, level_mean=0.7, known_first=32),
        ),
    ),
}


def proof(rollout: str) -> Experiment:
    """The same data and, from `--start`, the same beginning for every way to make a long video; `PROOF` says how each goes on."""
    steps, size, objectives = PROOF[rollout]
    return replace(
        default(),
        transformer=size,
        optimization=Optimization(
            num_steps=steps, learning_rate=1e-3, muon_learning_rate=1e-3, decay_from=0.4, ema_decay=0.99
        ),
        curriculum=(Stage(until=steps, objectives=objectives),),
        sampling=Sampling(),
        watching=Watching(validate_every=0, sample_every=0),
    )


def videos() -> Experiment:
    """One's own videos (`--data`), with captions or without: 64x64 pixels, 16 frames a second, from 64 frames to 1,024.

    Of a walk the last four segments are denoised and the last three writes learned, whatever its length, so that a step
    needs no more memory in the last stage than in the first. Frames are counted by malt's own autoencoder, 16 a segment.
    """
    walk = replace(CONSTANT_MEMORY, level_mean=0.7)
    alone = Objective(num_segments=1, batch_size=32, level_mean=0.7)
    return Experiment(
        autoencoder_objective=REAL_PICTURES,
        caption_tokens=256,  # captioners write 50 to 200 words
        max_words=4000,
        curriculum=frames_curriculum(
            METHOD_FRAMES, frames_per_segment=16, steps=(1000, 600, 500, 350, 250), walk=walk, beside=(alone,)
        ),
        transformer=TransformerSize(memory="hierarchical"),
    )


def drive() -> Experiment:
    """On-board video with steering and throttle (`--data`): nearly two hours on one core with bfloat16 matrix units."""
    alone = Objective(num_segments=1, batch_size=32)
    short = Objective(num_segments=3, batch_size=10)
    # Long enough that every place of the memory is written; what comes before the last two is only walked.
    long = Objective(num_segments=10, batch_size=8, denoise_segments=2, bptt_segments=3, draws=3)
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
    "proof-trunk": proof_trunk,
}
RECIPES |= {f"proof-{way}": partial(proof, way) for way in PROOF}
RECIPES |= {f"more-{way}": partial(more, **changes) for way, changes in HELPS.items()}


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
