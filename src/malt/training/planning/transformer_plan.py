"""The plan of a transformer that learns over a curriculum: malt's own, or a pretrained one with a memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from malt.adapters import AdaptedTransformer3DModel
from malt.adapters.experts import TwoExperts
from malt.data.batch import Batch
from malt.memory.state import in_half, num_bytes
from malt.models.transformer import MaltTransformer3DModel
from malt.models.video_model import VideoModel
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import BlockModel, ParallelConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedModel, DenoisingObjective
from malt.training.objectives.objective import Objective
from malt.training.planning.stage_plan import StagePlan, Steps, steps_of, weights_of
from malt.training.planning.step_cost import StepCost, as_planned, as_sharded, measure_step, planned
from malt.training.planning.student_plan import Teaching, measure_taught


@dataclass(frozen=True, kw_only=True)
class PlannedExamples:
    """A `SequenceSampler` of windows that have a size and no numbers.

    latent_size: channels, height and width. caption: that of every video. action_dim: length of a latent frame's action
    vector, 0 for none.
    """

    latent_size: tuple[int, int, int]
    caption: str
    action_dim: int = 0

    def __call__(
        self,
        step: int,
        num_videos: int,
        num_frames: int,
        context_frames: int,
        start_share: float,
        far_frames: int = 0,
    ) -> Batch:
        """Windows as long as they are asked for."""
        frames = context_frames + num_frames
        return Batch(
            torch.empty(num_videos, frames, *self.latent_size),
            [self.caption] * num_videos,
            torch.empty(num_videos, dtype=torch.bool),
            torch.empty(num_videos, frames, self.action_dim) if self.action_dim else None,
        )


def plan_transformer(
    captioned: CaptionedModel,
    examples: PlannedExamples,
    curriculum: tuple[Stage, ...],
    optimization: Optimization,
    parallel: ParallelConfig,
    *,
    precision: torch.dtype,
    num_gpus: int,
    teaching: Teaching | None = None,
) -> StagePlan:
    """What the stage comes to on so many GPUs.

    Args:
        captioned: what learns, on the meta device; it is of no other use afterwards.
        examples: what it learns from.
        curriculum: stages of objectives.
        optimization: whose number of steps the curriculum has.
        parallel: how it is spread over the GPUs.
        precision: that of its passes.
        num_gpus: how many share every batch.
        teaching: what teaches it; None where it learns from the examples alone.

    Raises:
        UsageError: a batch cannot be shared equally.
    """

    def measure(objective: Objective) -> StepCost:
        given = captioned, examples, (Stage(until=1, objectives=(objective,)),), 0, precision, (0, num_gpus)
        return measure_taught(given, teaching, objective) if teaching else measure_step(DenoisingObjective(*given))

    models = [captioned.transformer, *([teaching.model] if teaching else [])]
    with planned():
        as_planned(captioned)
        if teaching:
            as_planned(teaching.model)
        transformer = cast(BlockModel, captioned.train().transformer)
        weights = weights_of(
            captioned, transformer.blocks, optimization, parallel, num_gpus, teaching.model if teaching else None
        )
        if parallel.fsdp and num_gpus > 1:
            as_sharded(captioned, precision)
        session = in_half(captioned.transformer.empty_memory(1, *examples.latent_size[1:]))
        plain = _steps(models, lambda: steps_of(measure, curriculum, num_gpus))
        checkpointed = None
        if parallel.activation_checkpointing or not teaching:  # a student's many passes take minutes to count
            transformer.enable_gradient_checkpointing()
            checkpointed = _steps(models, lambda: steps_of(measure, curriculum, num_gpus))
    return StagePlan(
        name="transformer",
        num_steps=optimization.num_steps,
        weights=weights,
        session=num_bytes(session),
        plain=plain,
        checkpointed=checkpointed,
        is_checkpointed=parallel.activation_checkpointing,
    )


def _steps(models: Sequence[VideoModel], measure: Callable[[], Steps]) -> Steps:
    """The steps of transformers; of deep ones by two that are less so, as each further period of layers costs the same."""
    found = [_layers(model) for model in models]
    lists, period = [layers for of_one, _ in found for layers in of_one], found[0][1]
    depth = len(lists[0])
    if depth <= 4 * period or depth % period:
        return measure()
    # With one period alone, a step may need most at another time than a deeper one does.
    one, two = (_cut(lists, count, measure) for count in (2 * period, 3 * period))
    return one.further(two, depth // period - 2)


def _cut(lists: Sequence[nn.ModuleList], count: int, measure: Callable[[], Steps]) -> Steps:
    """The steps with the first so many layers alone."""
    left = [list(layers)[count:] for layers in lists]
    for layers in lists:
        del layers[count:]
    found = measure()
    for layers, rest in zip(lists, left, strict=True):
        layers.extend(rest)
    return found


def _layers(transformer: VideoModel) -> tuple[list[nn.ModuleList], int]:
    """The lists of a transformer that have an entry for each layer, and after how many layers they repeat."""
    if isinstance(transformer, TwoExperts):
        (high, period), (low, _) = _layers(transformer.high), _layers(transformer.low)
        return high + low, period
    if isinstance(transformer, AdaptedTransformer3DModel):
        blocks = [getattr(transformer.base, name) for name in transformer.family.lists]
        every = int(transformer.adapter.config.every)
        return [*blocks, transformer.adapter.layers], every if len(blocks) == 1 else len(transformer.adapter.layers)
    assert isinstance(transformer, MaltTransformer3DModel)
    return [transformer.blocks], len(transformer.config.attention)
