"""Learning to denoise with a memory: unroll it over k clean segments; denoise them in one batch."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from malt.data.batch import Batch
from malt.diffusion.caption import Caption
from malt.errors import UsageError
from malt.models.video_model import VideoModel
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising_loss import denoising_loss
from malt.training.objectives.objective import Objective
from malt.training.objectives.rng import WHOLE, RankAndSize, StepRandom, check_shared, rows
from malt.training.objectives.segments import SegmentedSequence

# (step, number of videos, latent frames, context frames before them, share that begins a film)
# -> windows with their context
SequenceSampler = Callable[[int, int, int, int, float], Batch]


TOKEN_STEP = 40


class CaptionedTransformer(nn.Module):
    """The transformer and the text encoder that is trained along with it."""

    def __init__(
        self, transformer: VideoModel, text_encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__()
        self.transformer, self.text_encoder, self.tokenizer = transformer, text_encoder, tokenizer

    def caption(self, captions: list[str], num_tokens: int | None = None) -> Caption:
        """Encoded captions and which of their tokens count; as many tokens as the longest needs, where none are given."""
        device, most = self.text_encoder.device, self.tokenizer.model_max_length
        longest = max(map(len, self.tokenizer(captions, truncation=True).input_ids), default=1)
        # In steps, so that few shapes are compiled; a bound of one step, as shipped models have, is always filled.
        length = num_tokens or min(most, -(-longest // TOKEN_STEP) * TOKEN_STEP)
        padded = {"padding": "max_length", "max_length": length, "truncation": True}
        tokens = self.tokenizer(captions, **padded, return_tensors="pt").to(device)
        states = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return Caption(states, tokens.attention_mask.bool())


class DenoisingObjective:
    """A `TrainingObjective`: the flow matching loss of this step's segments, each with the memory that it had before it.

    `rank_and_size` says which videos of every batch this process computes; the mean over the ranks of their losses is the
    loss of the whole batch.
    """

    def __init__(
        self,
        module: CaptionedTransformer,
        examples: SequenceSampler,
        curriculum: tuple[Stage, ...],
        seed: int,
        dtype: torch.dtype,
        rank_and_size: RankAndSize = WHOLE,
    ) -> None:
        for objective in (objective for stage in curriculum for objective in stage.objectives):
            check_shared(rank_and_size, objective.batch_size)
            known, frames = objective.baseline.num_known_frames, module.transformer.segment_frames
            if known >= frames:
                raise UsageError(
                    f"num_prefix_frames and num_suffix_frames are {known} of the {frames} latent frames of a segment; "
                    "leave some to learn"
                )
        self.module, self.examples, self.curriculum = module, examples, curriculum
        self.seed, self.dtype, self.rank_and_size = seed, dtype, rank_and_size

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the velocity, with the memory's regularisation where that is on; and both in figures.

        Raises:
            UsageError: when the model takes actions and the examples' are missing or of another length.
        """
        objective, model = self.objective(step), self.module.transformer
        rng = StepRandom(self.seed, step, objective.batch_size, model.device, self.rank_and_size)
        batch = self._examples(step, objective)
        dropped = (rng.uniform() < objective.dropout.caption_dropout).tolist()
        captions = ["" if drop else text for text, drop in zip(batch.captions, dropped, strict=True)]
        with torch.autocast(model.device.type, self.dtype, enabled=self.dtype != torch.float32):
            sequence = self._sequence(batch, self.module.caption(captions))
            errors, regularisation = denoising_loss(model, sequence, objective, rng)
        figures = {f"segment_{objective.unroll.first_denoised + k}": float(e) for k, e in enumerate(errors.detach())}
        if regularisation is None:
            return errors.mean(), figures
        figures["memory_regularisation"] = float(regularisation.detach())
        return errors.mean() + objective.unroll.memory_regularisation * regularisation, figures

    def objective(self, step: int) -> Objective:
        """What is learned by in this step."""
        objectives = next((stage for stage in self.curriculum if step < stage.until), self.curriculum[-1]).objectives
        return objectives[step % len(objectives)]

    def _examples(self, step: int, objective: Objective) -> Batch:
        """This part's rows of the step's batch; nothing is told of what is done in key frames, as of those that are made."""
        model, own, stride = self.module.transformer, rows(self.rank_and_size), objective.baseline.frame_stride
        context = stride * model.context_frames
        frames = stride * objective.unroll.num_segments * model.segment_frames
        batch = self.examples(step, objective.batch_size, frames, context, objective.unroll.first_segment_prob)
        seen = own, slice(stride - 1, None, stride)
        actions = None if batch.actions is None else batch.actions[seen]
        if actions is not None and stride > 1:
            actions = torch.zeros_like(actions)
        return Batch(batch.latents[seen], batch.captions[own], batch.begins[own], actions)

    def _sequence(self, batch: Batch, caption: Caption) -> SegmentedSequence:
        model = self.module.transformer
        actions = _actions(batch, model.action_dim)
        return SegmentedSequence(
            latents=batch.latents.to(model.device),
            caption=caption,
            begins=batch.begins.to(model.device),
            actions=None if actions is None else actions.to(model.device),
            segment_frames=model.segment_frames,
            context_frames=model.context_frames,
        )


def _actions(batch: Batch, action_dim: int | None) -> Float[Tensor, "b s a"] | None:
    """The actions that a model takes; one that takes none is told none."""
    if action_dim is None:
        return None
    found = "none" if batch.actions is None else str(batch.actions.shape[-1])
    if found != str(action_dim):
        raise UsageError(
            f"the model takes actions of {action_dim} numbers a latent frame and the examples have {found}; give it "
            f"examples with actions of this length, or a transformer with another action_dim"
        )
    return batch.actions
