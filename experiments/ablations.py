"""What each part of the method is worth: the packaged model's training with one thing changed.

    malt train experiments/ablations.py:no-memory --out runs/no-memory
    malt train experiments/ablations.py:self-forcing --start src/malt/assets/teacher --out runs/self-forcing

`no_memory` is trained from nothing, as `teacher` was. The others are a little more of `finetune`, from the packaged model:
with and without a change, they say whether it helps.
"""

from dataclasses import replace

from malt.training.config import Experiment, MonitorConfig
from malt.training.engine.optimizer import Optimization
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.objective import Objective, SelfForcingConfig
from malt.training.recipes import BEGIN, RETURN, default, finetune


def no_memory() -> Experiment:
    """The same network, data and budget with nothing but the short-term context."""
    experiment = default()
    return replace(experiment, transformer=replace(experiment.transformer, memory="none", memory_config=None))


def unchanged() -> Experiment:
    """As much more training without a change, to compare with."""
    return _more(RETURN)


def self_forcing() -> Experiment:
    """Half of the videos are unrolled over the model's own segments."""
    return _more(replace(RETURN, self_forcing=SelfForcingConfig(prob=0.5)))


def regularised() -> Experiment:
    """The memory regularisation loss, of L2-normalised tokens."""
    return _more(replace(RETURN, unroll=replace(RETURN.unroll, memory_regularisation=0.1)))


def regularised_plain() -> Experiment:
    """The memory regularisation loss in its plain form."""
    plain = replace(RETURN.unroll, memory_regularisation=2e-6, normalize_memory=False)
    return _more(replace(RETURN, unroll=plain))


def _more(returns: Objective) -> Experiment:
    """150 steps on the packaged model (`--start`), in turn on returns and beginnings."""
    return replace(
        finetune(),
        optimization=Optimization(
            num_steps=150,
            learning_rate=7e-4,
            muon_learning_rate=7e-4,
            warmup_steps=20,
            decay_from=0.3,
            ema_decay=0.98,
        ),
        curriculum=(Stage(until=150, objectives=(returns, BEGIN)),),
        monitors=MonitorConfig(validate_every=150, validation_videos=32, sample_every=0),
    )
