"""Every kind of memory, trained alike so that they can be compared: same data, same start, same computing, equal bytes.

    malt train experiments/kinds.py:trunk --device cuda --cuda-graphs true --out runs/kinds/trunk
    malt train experiments/kinds.py:adaptive --start runs/kinds/trunk/pipeline --out runs/adaptive --seed 1

`trunk` knows single segments and no memory. benchmarks/kinds.py trains all of them, with another budget where one is given,
and measures them; experiments/place_kinds.py is the same for a world that one walks through.
Each holds as many numbers a layer as twelve latent frames have: `hierarchical` with eight pooled segments.
`context` with twenty segments is the reference and holds more, `recurrent` is what it is, a segment.
Each learns for as many steps as TERA operations allow; unrolls of ten segments and of 22, longer than any memory here.
"""

from dataclasses import replace
from pathlib import Path

import malt
from malt.memory.registry import Setting
from malt.training.config import Experiment, MonitorConfig, Sampling, TransformerSize
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage, with_segments
from malt.training.recipes import ALONE, BEGIN, RETURN, default

TERA = 110.0  # operations of every kind, in 10^12
A_STEP = {  # the same of a step, on average over the objectives; benchmarks/budget.py counts it
    "hierarchical": 0.7439,
    "sink": 0.7439,
    "archive": 0.7442,
    "adaptive": 0.7477,
    "multimodal": 0.7226,
    "state_space": 0.6766,
    "slots": 1.2351,
    "bank": 0.8627,
    "short_context": 0.7439,
    "context": 2.2173,
    "recurrent": 0.5706,
    "none": 0.2409,
}
# More videos a step would fill a GPU better, and leave too few steps.
OFTEN = replace(RETURN, batch_size=16, noise=replace(RETURN.noise, num_noise_samples=3))
VIDEOS = 2000  # of the world, encoded once for the trunk and all kinds
FRAMES = 12  # whose tokens' numbers every kind holds: eight pooled ones and a segment of four
UNWATCHED = MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1)


def trunk() -> Experiment:
    """Single segments from nothing: some 500 TFLOP, once, for a start that knows no kind of memory."""
    steps = 400
    return replace(
        default(),
        codec=str(Path(malt.__file__).parent / "assets" / "teacher"),
        transformer=TransformerSize(memory="none"),
        optimization=Optimization(
            num_steps=steps,
            learning_rate=1.5e-3,
            muon_learning_rate=1.5e-3,
            warmup_steps=20,
            decay_from=0.6,
            ema_decay=0.98,
        ),
        curriculum=(Stage(until=steps, objectives=(replace(ALONE, batch_size=512), replace(BEGIN, batch_size=512))),),
        world_videos=VIDEOS,
        world_frames=512,
        sampling=Sampling(guidance_scale=1.0),
        monitors=UNWATCHED,
        compile=False,
    )


def hierarchical() -> Experiment:
    """The last segment, and a pooled frame of each of the eight before it."""
    return _trained("hierarchical", "hierarchical", {"num_pooled": 8})


def sink() -> Experiment:
    """Two of the pooled frames are those of the first segments."""
    return _trained("sink", "hierarchical", {"num_pooled": 6, "sink": 2})


def archive() -> Experiment:
    """One is the first segment's, four are of what was new and long ago."""
    return _trained("archive", "hierarchical", {"num_pooled": 3, "sink": 1, "archive": 4})


def adaptive() -> Experiment:
    """The last segment, and eight entries for every place of a frame."""
    return _trained("adaptive", "adaptive", {"cap": 8})


def multimodal() -> Experiment:
    """The last segment, seven pooled frames, of which three roll on, and a frame's places for captions and actions."""
    return _trained("multimodal", "multimodal", {"num_entries": 7, "num_recent": 3})


def state_space() -> Experiment:
    """A recurrent state whose rows are as many as those frames have tokens."""
    return _trained("state_space", "state_space", {"state_size": FRAMES * _tokens_per_frame()})


def slots() -> Experiment:
    """Learned slots, as many as those frames have tokens."""
    return _trained("slots", "slots", {"num_slots": FRAMES * _tokens_per_frame()})


def bank() -> Experiment:
    """Encoded tokens of the last twelve segments."""
    return _trained("bank", "bank", {"size": FRAMES * _tokens_per_frame(), "per_segment": _tokens_per_frame()})


def short_context() -> Experiment:
    """The last three segments as they are."""
    return _trained("short_context", "context", {"num_segments": 3})


def context() -> Experiment:
    """The reference: the last twenty segments as they are, in 6.7 times the bytes."""
    return _trained("context", "context", {"num_segments": 20})


def recurrent() -> Experiment:
    """The last segment, in a third of the bytes."""
    return _trained("recurrent", "recurrent", {})


def none() -> Experiment:
    """Nothing but the short-term context."""
    return _trained("none", "none", {})


def _tokens_per_frame() -> int:
    """Of the world's frames: the codec makes them eight times smaller, the transformer by the size of its patches."""
    height, width = default().frame_size
    side = 8 * TransformerSize().patch_size
    return (height // side) * (width // side)


def _trained(name: str, memory: str, settings: dict[str, Setting]) -> Experiment:
    """As many steps as TERA allows, on videos that mostly end where something hidden comes out again."""
    steps = round(TERA / A_STEP[name])
    return replace(
        default(),
        transformer=TransformerSize(memory=memory, memory_config=settings or None),
        optimization=Optimization(
            num_steps=steps,
            learning_rate=1.2e-3,
            muon_learning_rate=1.2e-3,
            warmup_steps=10,
            decay_from=0.3,
            ema_decay=0.95,
        ),
        curriculum=(Stage(until=steps, objectives=(OFTEN, with_segments(OFTEN, 22))),),
        world_videos=VIDEOS,
        world_frames=512,
        sampling=Sampling(guidance_scale=1.0),
        monitors=UNWATCHED,
        compile=False,
    )
