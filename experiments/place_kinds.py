"""Kinds of memory in a world that one walks through, trained alike: same data, same start, same computing, equal bytes.

    malt train experiments/place_kinds.py:trunk --device cuda --cuda-graphs true --out runs/maze-kinds/trunk
    malt train experiments/place_kinds.py:places --start runs/maze-kinds/trunk/pipeline --out runs/places

`trunk` knows single segments and no memory. `places` reads by where one is, which it reckons from the actions; the others
read by content alone. Each holds as many numbers a layer as 34 latent frames have, as `places` with 32 views does but for one
token; `context` with twenty segments is the reference and holds 2.4 times as many. benchmarks/kinds.py trains and measures.
"""

from dataclasses import replace
from pathlib import Path

import malt
from malt.memory.registry import Setting
from malt.training.config import Experiment, MonitorConfig, TransformerSize
from malt.training.engine.optimizer import Optimization
from malt.training.maze_recipe import maze
from malt.training.objectives.curriculum import Stage, with_segments
from malt.training.objectives.objective import NoiseConfig, Objective, UnrollConfig

TERA = 110.0  # operations of every kind, in 10^12
A_STEP = {  # the same of a step, on average over the objectives; benchmarks/budget.py counts it
    "places": 0.6054,
    "archive": 1.1254,
    "adaptive": 1.1669,
    "short_context": 1.0805,
    "context": 2.0311,
    "state_space": 0.7802,
    "slots": 2.6189,
    "none": 0.2409,
}
FRAMES, TOKENS = 34, 16  # whose numbers every kind holds: thirty frames of what was, and a segment of four
NOISE = NoiseConfig(logit_mean=0.5, num_noise_samples=3, memory_noise=0.0)
# One comes back in the last two segments; of films that just began there is nothing to remember.
BACK = Objective(
    batch_size=16,
    unroll=UnrollConfig(num_segments=11, denoise_segments=2, bptt_segments=2, first_segment_prob=0.1),
    noise=NOISE,
)
UNWATCHED = MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1)


def trunk() -> Experiment:
    """Single segments from nothing: some 500 TFLOP, once, for a start that knows no kind of memory."""
    steps = 400
    alone = Objective(batch_size=512, noise=NoiseConfig(logit_mean=0.5))
    return replace(
        _of_mazes(),
        codec=str(Path(malt.__file__).parent / "assets" / "maze"),
        transformer=TransformerSize(memory="none"),
        optimization=Optimization(
            num_steps=steps,
            learning_rate=1.5e-3,
            muon_learning_rate=1.5e-3,
            warmup_steps=20,
            decay_from=0.6,
            ema_decay=0.98,
        ),
        curriculum=(Stage(until=steps, objectives=(alone,)),),
        world_return_share=0.0,
    )


def places() -> Experiment:
    """32 views, and the poses they were seen from, by which eight are read."""
    moves = maze().transformer
    return _trained("places", replace(moves, memory_size=None, memory_config={"num_views": 32, "num_read": 8}))


def archive() -> Experiment:
    """The last segment, eight pooled frames and two that stay, and twenty of what was new and long ago."""
    return _trained("archive", _size("hierarchical", {"num_pooled": 8, "sink": 2, "archive": 20}))


def adaptive() -> Experiment:
    """The last segment, and thirty entries for every place of a frame."""
    return _trained("adaptive", _size("adaptive", {"cap": 30}))


def short_context() -> Experiment:
    """The last eight segments as they are, two frames less than the others hold."""
    return _trained("short_context", _size("context", {"num_segments": 8}))


def context() -> Experiment:
    """The reference: the last twenty segments as they are."""
    return _trained("context", _size("context", {"num_segments": 20}))


def state_space() -> Experiment:
    """A recurrent state whose rows are as many as those frames have tokens."""
    return _trained("state_space", _size("state_space", {"state_size": FRAMES * TOKENS}))


def slots() -> Experiment:
    """Learned slots, as many as those frames have tokens."""
    return _trained("slots", _size("slots", {"num_slots": FRAMES * TOKENS}))


def none() -> Experiment:
    """Nothing but the short-term context."""
    return _trained("none", _size("none", {}))


def _size(memory: str, settings: dict[str, Setting]) -> TransformerSize:
    return TransformerSize(memory=memory, memory_config=settings or None)


def _of_mazes() -> Experiment:
    """Walks long enough for an unroll of 22 segments."""
    return replace(maze(), world_videos=640, world_frames=416, monitors=UNWATCHED, compile=False)


def _trained(name: str, size: TransformerSize) -> Experiment:
    """As many steps as TERA allows, on walks that mostly end where one has been before."""
    steps = round(TERA / A_STEP[name])
    return replace(
        _of_mazes(),
        transformer=size,
        optimization=Optimization(
            num_steps=steps,
            learning_rate=1.2e-3,
            muon_learning_rate=1.2e-3,
            warmup_steps=10,
            decay_from=0.3,
            ema_decay=0.95,
        ),
        curriculum=(Stage(until=steps, objectives=(BACK, with_segments(BACK, 22))),),
    )
