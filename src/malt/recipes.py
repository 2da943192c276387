"""Named experiments: functions that return a frozen `Experiment`; an ablation is a function of one."""

from dataclasses import dataclass, field, replace
from typing import Any

from malt.training.autoencoder import AutoencoderObjective
from malt.training.optimizer import Optimization
from malt.training.transformer import Objective, Stage


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a training run: the same experiment and seed give the same model on the same machine."""

    autoencoder: dict[str, Any] = field(default_factory=dict)  # arguments of AutoencoderMalt
    autoencoder_objective: AutoencoderObjective = AutoencoderObjective()
    autoencoder_optimization: Optimization = Optimization(
        num_steps=4000, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, ema_decay=0.998, decay_from=0.5
    )
    clip_frames: int = 12
    transformer: dict[str, Any] = field(default_factory=dict)  # arguments of MaltTransformer3DModel
    optimization: Optimization = Optimization(
        num_steps=2700, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.55
    )
    curriculum: tuple[Stage, ...] = (Stage(until=2700, objectives=(Objective(),)),)
    bank_videos: int = 1600  # scenes that are rendered and encoded before the transformer is trained
    bank_frames: int = 160
    start: str | None = None  # pipeline directory whose autoencoder is kept and whose other weights the run begins with
    fresh_text_encoder: bool = False  # do not keep that of `start`
    seed: int = 0
    precision: str = "bfloat16"
    compile: bool = True

    def __post_init__(self) -> None:
        ends = [stage.until for stage in self.curriculum]
        if not ends or ends != sorted(set(ends)):
            raise ValueError(
                f"the stages of the curriculum end at steps {ends}; give at least one, each later than the last"
            )
        if self.curriculum[-1].until != self.optimization.num_steps:
            raise ValueError(
                f"the curriculum ends at step {self.curriculum[-1].until} and the optimization at "
                f"{self.optimization.num_steps}; make them equal"
            )


def default() -> Experiment:
    """The model that ships: two hours on one core of a CPU with bfloat16 matrix units."""
    begin = Objective(num_segments=1, batch_size=48, start_share=0.9)
    curriculum = (
        Stage(until=1100, objectives=(Objective(num_segments=1, batch_size=48),)),
        Stage(until=1800, objectives=(Objective(num_segments=3, batch_size=16),)),
        Stage(until=2700, objectives=(begin, Objective(num_segments=6, batch_size=8, start_share=0.5))),
    )
    return Experiment(curriculum=curriculum)


def without_memory(experiment: Experiment) -> Experiment:
    """The ablation `none`: the same network, data and budget with nothing but the short-term context."""
    return replace(experiment, transformer=experiment.transformer | {"memory": "none"})


def further() -> Experiment:
    """More of everything from the weights of another run (`--start`): how films begin, and longer and longer walks."""
    begin = Objective(num_segments=1, batch_size=48, start_share=0.9, level_mean=0.7)
    walk = Objective(num_segments=6, batch_size=8, start_share=0.5, level_mean=0.7)
    long_walk = Objective(num_segments=10, batch_size=5, start_share=0.5, level_mean=0.7)
    return Experiment(
        optimization=Optimization(num_steps=5600, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.6),
        curriculum=(
            Stage(until=500, objectives=(begin,)),
            Stage(until=4400, objectives=(begin, walk)),
            Stage(until=5600, objectives=(begin, long_walk)),
        ),
        bank_videos=3200,
        bank_frames=208,
        fresh_text_encoder=True,
    )


def tiny() -> Experiment:
    """Everything at its smallest: it shows in a minute that the parts fit, and learns next to nothing."""
    return Experiment(
        autoencoder={"channels": (8, 16, 16)},
        autoencoder_objective=AutoencoderObjective(batch_size=2),
        autoencoder_optimization=Optimization(num_steps=4),
        transformer={"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16},
        optimization=Optimization(num_steps=4, muon_learning_rate=1e-3),
        curriculum=(
            Stage(until=2, objectives=(Objective(num_segments=1, batch_size=2),)),
            Stage(until=4, objectives=(Objective(num_segments=3, batch_size=2),)),
        ),
        bank_videos=4,
        bank_frames=64,
        precision="float32",
        compile=False,
    )


RECIPES = {"default": default, "none": lambda: without_memory(default()), "further": further, "tiny": tiny}
