"""What a stage of a run needs: weights, memory and operations, of so many GPUs; nothing is loaded for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW

from malt.training.engine.optimizer import Optimization, build_optimizers
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.curriculum import Stage, with_segments
from malt.training.objectives.objective import Objective
from malt.training.objectives.rng import check_shared
from malt.training.planning.step_cost import StepCost

MeasureStep = Callable[[Objective], StepCost]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What lies in a GPU's memory whatever the step is.

    trained, frozen: parameters. The others are bytes. gathered: what a sharded model brings together for a while.
    """

    trained: int
    frozen: int
    weights: int
    average: int
    optimizer: int
    gradients: int
    gathered: int = 0

    @property
    def standing(self) -> int:
        """Bytes that are there between steps."""
        return self.weights + self.average + self.optimizer


@dataclass(frozen=True, kw_only=True)
class Steps:
    """All steps of a stage of the run.

    stages: of every stage of the curriculum, the number of steps and the operations of one on average, on all GPUs. kept, peak:
    of the dearest step of one GPU, as in `StepCost`.
    """

    stages: tuple[tuple[int, float], ...]
    kept: int
    peak: int

    @property
    def flops(self) -> float:
        """Operations of all steps on all GPUs."""
        return sum(count * each for count, each in self.stages)

    def further(self, second: "Steps", count: int) -> "Steps":
        """What `count` times the way from these to those comes to."""
        return Steps(
            stages=tuple(
                (number, one + count * (two - one))
                for (number, one), (_, two) in zip(self.stages, second.stages, strict=True)
            ),
            kept=self.kept + count * (second.kept - self.kept),
            peak=self.peak + count * (second.peak - self.peak),
        )


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What one stage of a run comes to.

    session: bytes of one video's memory; None where there is none. plain, checkpointed: its steps with all activations kept,
    and with blocks computed again; None where that cannot be. is_checkpointed: which of both the run is set to.
    """

    name: str
    num_steps: int
    weights: Weights
    plain: Steps
    checkpointed: Steps | None = None
    is_checkpointed: bool = False
    session: int | None = None

    @property
    def steps(self) -> Steps:
        """Its steps as the run is set."""
        return self.checkpointed if self.is_checkpointed and self.checkpointed else self.plain

    def memory(self, steps: Steps) -> int:
        """Bytes of a GPU at the height of the dearest step."""
        weights = self.weights
        return weights.standing + weights.gathered + max(steps.peak, weights.gradients)


def weights_of(
    module: nn.Module,
    blocks: Iterable[nn.Module],
    optimization: Optimization,
    parallel: ParallelConfig,
    num_gpus: int,
    teacher: nn.Module | None = None,
) -> Weights:
    """What the weights of a module come to on each of so many GPUs.

    Args:
        module: what learns.
        blocks: what is gathered at once where it is sharded.
        optimization: whose optimizers it is learned by.
        parallel: how it is spread.
        num_gpus: how many share it, or hold a copy each.
        teacher: what stands beside it and is spread alike.
    """
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    every = [*module.parameters(), *(teacher.parameters() if teacher else ())]
    parts = num_gpus // parallel.num_replicas if parallel.fsdp else 1
    largest = max((sum(p.numel() for p in block.parameters()) for block in blocks), default=0)
    trained, average = sum(p.numel() for p in learned), sum(p.nbytes for p in learned)
    optimizer = sum(
        parameter.nbytes * (2 if isinstance(optimizer, AdamW) else 1)  # Muon has one moment
        for optimizer in build_optimizers(module, optimization)
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    reduced = 2 if num_gpus > 1 and parts == 1 else 1  # of whole gradients a second copy crosses between GPUs
    return Weights(
        trained=trained,
        frozen=sum(p.numel() for p in every) - trained,
        weights=sum(p.nbytes for p in every) // parts,
        average=average // parts,
        optimizer=optimizer // parts,
        gradients=reduced * average // parts,
        gathered=10 * largest if parts > 1 else 0,
    )


def steps_of(measure: MeasureStep, curriculum: tuple[Stage, ...], num_gpus: int) -> Steps:
    """The cost of a curriculum whose batches so many GPUs share.

    Raises:
        UsageError: a batch cannot be shared equally.
    """
    costs, stages, begin = _Costs(measure), list[tuple[int, float]](), 0
    for stage in curriculum:
        for objective in stage.objectives:
            check_shared((0, num_gpus), objective.batch_size)
        each = [costs.of(objective).flops for objective in stage.objectives]
        stages.append((stage.until - begin, num_gpus * sum(each) / len(each)))
        begin = stage.until
    every = [costs.of(objective) for stage in curriculum for objective in stage.objectives]
    return Steps(stages=tuple(stages), kept=max(cost.kept for cost in every), peak=max(cost.peak for cost in every))


class _Costs:
    """What a step of each objective costs; the same one is measured once."""

    def __init__(self, measure: MeasureStep) -> None:
        self.measure, self.measured = measure, dict[Objective, StepCost]()

    def of(self, objective: Objective) -> StepCost:
        """The cost of a step; of a long unroll by two shorter ones, as each further segment costs the same."""
        unroll = objective.unroll
        most = unroll.num_segments - 1 if unroll.bptt_segments is None else unroll.bptt_segments
        short = max(unroll.denoise_segments or unroll.num_segments, most + 1) + 1
        if unroll.num_segments <= short + 1:
            return self._measured(objective)
        first, second = (self._measured(with_segments(objective, count)) for count in (short, short + 1))
        return first.further(second, unroll.num_segments - short)

    def _measured(self, objective: Objective) -> StepCost:
        if objective not in self.measured:
            self.measured[objective] = self.measure(objective)
        return self.measured[objective]
