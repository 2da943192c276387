"""Every kind of memory, trained alike so that they can be compared: same data, same start, same computing, equal bytes.

    malt train experiments/baselines.py:trunk --out runs/trunk
    malt train experiments/kinds.py:adaptive --start runs/trunk/pipeline --out runs/adaptive --seed 1

benchmarks/kinds.py trains all of them, with another budget where one is given, and measures them.
Each holds as many numbers a layer as twelve latent frames have: `hierarchical` with eight pooled segments.
`context` with twenty segments is the reference and holds more, `recurrent` is what it is, a segment.
Each learns for as many steps as TERA operations allow; unrolls of ten segments and of 22, longer than any memory here.
"""

from dataclasses import replace

from malt.memory.registry import Setting
from malt.training.config import Experiment, MonitorConfig, Sampling, TransformerSize
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage, with_segments
from malt.training.recipes import RETURN, default

TERA = 160.0  # operations of every kind, in 10^12
A_STEP = {  # the same of a step, on average over the objectives; benchmarks/budget.py counts it
    "hierarchical": 0.3721,
    "sink": 0.3721,
    "archive": 0.3721,
    "adaptive": 0.3737,
    "multimodal": 0.3623,
    "state_space": 0.3383,
    "slots": 0.6176,
    "bank": 0.435,
    "short_context": 0.3721,
    "context": 1.1111,
    "recurrent": 0.292,
    "none": 0.1204,
}
OFTEN = replace(RETURN, batch_size=8, noise=replace(RETURN.noise, num_noise_samples=3))  # as many as RETURN takes
FRAMES = 12  # whose tokens' numbers every kind holds: eight pooled ones and a segment of four


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
            learning_rate=7e-4,
            muon_learning_rate=7e-4,
            warmup_steps=10,
            decay_from=0.3,
            ema_decay=0.95,
        ),
        curriculum=(Stage(until=steps, objectives=(OFTEN, with_segments(OFTEN, 22))),),
        world_videos=300,
        world_frames=512,
        sampling=Sampling(guidance_scale=1.0),
        monitors=MonitorConfig(validate_every=0, sample_every=0, validation_videos=1, sample_videos=1),
        compile=False,
    )
