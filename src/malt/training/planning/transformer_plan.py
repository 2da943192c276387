"""The plan of a transformer that learns over a curriculum: malt's own, or a pretrained one with a memory."""

from dataclasses import dataclass
from typing import cast

import torch

from malt.data.batch import Batch
from malt.memory.state import in_half, num_bytes
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import BlockModel, ParallelConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedTransformer, DenoisingObjective
from malt.training.objectives.objective import Objective
from malt.training.planning.stage_plan import StagePlan, steps_of, weights_of
from malt.training.planning.step_cost import as_planned, as_sharded, planned


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
    captioned: CaptionedTransformer,
    examples: PlannedExamples,
    curriculum: tuple[Stage, ...],
    optimization: Optimization,
    parallel: ParallelConfig,
    *,
    precision: torch.dtype,
    num_gpus: int,
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

    Raises:
        UsageError: a batch cannot be shared equally.
    """

    def make(objective: Objective) -> DenoisingObjective:
        stage = Stage(until=1, objectives=(objective,))
        return DenoisingObjective(captioned, examples, (stage,), 0, precision, (0, num_gpus))

    with planned():
        as_planned(captioned)
        transformer = cast(BlockModel, captioned.train().transformer)
        weights = weights_of(captioned, transformer.blocks, optimization, parallel, num_gpus)
        if parallel.fsdp and num_gpus > 1:
            as_sharded(captioned, precision)
        session = in_half(captioned.transformer.empty_memory(1, *examples.latent_size[1:]))
        plain = steps_of(make, curriculum, num_gpus)
        transformer.enable_gradient_checkpointing()
        checkpointed = steps_of(make, curriculum, num_gpus)
    return StagePlan(
        name="transformer",
        num_steps=optimization.num_steps,
        weights=weights,
        session=num_bytes(session),
        plain=plain,
        checkpointed=checkpointed,
        is_checkpointed=parallel.activation_checkpointing,
    )
