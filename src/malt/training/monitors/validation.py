"""The loss on videos that are never trained on, by noise level and by segment: it should fall as the memory fills."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from malt.data.batch import Batch
from malt.diffusion.flow import interpolate, velocity
from malt.memory.state import Memory
from malt.training.engine.metric_log import MetricLogger
from malt.training.objectives.denoising import CaptionedModel
from malt.training.objectives.segments import SegmentedSequence


class Validation:
    """An action of the loop: always the same videos and the same noise, so that only the weights make a difference."""

    def __init__(self, batch: Batch, levels: Sequence[float], journal: MetricLogger, precision: torch.dtype) -> None:
        self.batch, self.levels, self.journal, self.precision = batch, tuple(levels), journal, precision

    def __call__(self, step: int, module: nn.Module) -> None:
        """Write the losses of `module` to the journal."""
        assert isinstance(module, CaptionedModel)
        # Nothing is compiled for shapes that training never sees: that would change the shapes training is compiled for.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            losses = validation_losses(module, self.batch, self.levels, self.precision)
        self.journal.write(step, figures_of(losses, self.levels))


def figures_of(losses: Float[Tensor, "k l"], levels: Sequence[float]) -> dict[str, float]:
    """The mean loss, and that of every noise level and of every segment."""
    by_level = {f"level_{level}": float(loss) for level, loss in zip(levels, losses.mean(dim=0), strict=True)}
    by_segment = {f"segment_{index}": float(loss) for index, loss in enumerate(losses.mean(dim=1))}
    return {"loss": float(losses.mean()), **by_level, **by_segment}


def validation_losses(
    captioned: CaptionedModel,
    batch: Batch,
    levels: Sequence[float],
    precision: torch.dtype = torch.float32,
    seed: int = 0,
) -> Float[Tensor, "k l"]:
    """Mean squared error of the velocity, by segment and noise level, behind a true context and a clean memory."""
    model = captioned.transformer
    device = model.device
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        sequence = SegmentedSequence(
            latents=batch.latents.to(device),
            caption=captioned.caption(batch.captions),
            begins=batch.begins.to(device),
            actions=None if batch.actions is None or model.action_dim is None else batch.actions.to(device),
            segment_frames=model.segment_frames,
            context_frames=model.context_frames,
        )
        memory = model.empty_memory(len(sequence.latents), *sequence.latents.shape[-2:])
        losses = []
        for index in range((sequence.latents.shape[1] - model.context_frames) // model.segment_frames):
            eps = _noise(sequence, index, seed)
            losses.append(torch.stack([_loss(captioned, sequence, index, memory, eps, level) for level in levels]))
            segment = sequence.latents[:, sequence.frames(index)]
            actions = sequence.actions_of(index, with_context=False)
            clean = torch.zeros(segment.shape[:2], device=device)
            memory = model(segment, clean, memory, **sequence.caption.arguments, actions=actions).memory
    return torch.stack(losses).cpu()


def _noise(sequence: SegmentedSequence, index: int, seed: int) -> Tensor:
    """The noise of a segment and its context; the same for every model, wherever it computes."""
    shape = sequence.behind(sequence.latents, index).shape
    rng = torch.Generator().manual_seed(seed * 1_000_003 + index)
    return torch.randn(shape, generator=rng).to(sequence.latents)


def _loss(
    captioned: CaptionedModel, sequence: SegmentedSequence, index: int, memory: Memory, eps: Tensor, level: float
) -> Tensor:
    model, clean = captioned.transformer, sequence.behind(sequence.latents, index)
    levels = torch.full(clean.shape[:2], level, device=clean.device)
    # Where a film begins there is no context: all of it is noise.
    levels[:, : model.context_frames] = 0.0
    if index == 0:
        levels[sequence.begins, : model.context_frames] = 1.0
    prediction = model(
        interpolate(clean, eps, levels),
        levels,
        memory,
        **sequence.caption.arguments,
        actions=sequence.actions_of(index, with_context=True),
        num_context_frames=model.context_frames,
        update_memory=False,
    ).velocity
    error: Tensor = prediction.float() - velocity(clean, eps)
    return error[:, model.context_frames :].square().mean()
