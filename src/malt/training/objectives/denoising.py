"""Learning to denoise with a memory: unroll it over k clean segments; denoise them in one batch."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from malt.data.batch import Batch
from malt.diffusion.caption import Caption
from malt.errors import UsageError
from malt.models.video_model import VideoModel
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising_loss import denoising_loss
from malt.training.objectives.objective import Objective
from malt.training.objectives.rng import WHOLE, Generators, RankAndSize, StepRandom, check_shared, rows
from malt.training.objectives.segments import SegmentedSequence

# (step, number of videos, latent frames, context frames before them, share that begins a film, how many of the first
# latent frames are from long before the others) -> windows with their context
SequenceSampler = Callable[[int, int, int, int, float, int], Batch]


TOKEN_STEP = 40


class CaptionedModel(nn.Module):
    """A video model, and captions as it is conditioned on them."""

    def __init__(self, transformer: VideoModel) -> None:
        super().__init__()
        self.transformer = transformer

    def caption(self, captions: list[str], num_tokens: int | None = None) -> Caption:
        """Encoded captions; of `num_tokens` tokens, where that is given and the model takes any number."""
        raise NotImplementedError

    def text_inputs(self, captions: list[str], num_tokens: int | None = None) -> dict[str, Tensor]:
        """What is needed to encode captions and an empty one, on the model's device."""
        raise NotImplementedError

    def encode_inputs(self, inputs: Mapping[str, Tensor], dropped: Bool[Tensor, " b"]) -> Caption:
        """The captions of `text_inputs`; those marked in `dropped` as if nothing had been said."""
        raise NotImplementedError


class CaptionedTransformer(CaptionedModel):
    """The transformer and the text encoder that is trained along with it."""

    def __init__(
        self, transformer: VideoModel, text_encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__(transformer)
        self.text_encoder, self.tokenizer = text_encoder, tokenizer

    def caption(self, captions: list[str], num_tokens: int | None = None) -> Caption:
        """Encoded captions and which of their tokens count; as many tokens as the longest needs, where none are given."""
        text = self.text_inputs(captions, num_tokens)
        return self.encode(text["tokens"], text["token_mask"])

    def text_inputs(self, captions: list[str], num_tokens: int | None = None) -> dict[str, Tensor]:
        """The tokens of captions and of an empty one, and which of them count, on the model's device."""
        most = self.tokenizer.model_max_length
        longest = max(map(len, self.tokenizer(captions, truncation=True).input_ids), default=1)
        # In steps, so that few shapes are compiled; a bound of one step, as shipped models have, is always filled.
        length = num_tokens or min(most, -(-longest // TOKEN_STEP) * TOKEN_STEP)
        padded = {"padding": "max_length", "max_length": length, "truncation": True}
        made = self.tokenizer([*captions, ""], **padded, return_tensors="pt").to(self.text_encoder.device)
        tokens, mask = made.input_ids, made.attention_mask
        return {"tokens": tokens[:-1], "token_mask": mask[:-1], "no_tokens": tokens[-1:], "no_token_mask": mask[-1:]}

    def encode(self, tokens: Tensor, mask: Tensor) -> Caption:
        """The encoder's states of tokens (b, n), of which those marked in `mask` count."""
        return Caption(self.text_encoder(tokens, attention_mask=mask).last_hidden_state, mask.bool())

    def encode_inputs(self, inputs: Mapping[str, Tensor], dropped: Bool[Tensor, " b"]) -> Caption:
        """The captions of `text_inputs`; those marked in `dropped` as if nothing had been said."""
        tokens = torch.where(dropped[:, None], inputs["no_tokens"], inputs["tokens"])
        return self.encode(tokens, torch.where(dropped[:, None], inputs["no_token_mask"], inputs["token_mask"]))


class DenoisingObjective:
    """A `TrainingObjective`: the flow matching loss of this step's segments, each with the memory that it had before it.

    `rank_and_size` says which videos of every batch this process computes; the mean over the ranks of their losses is the
    loss of the whole batch.
    """

    def __init__(
        self,
        module: CaptionedModel,
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
        generators = Generators.on(self.device).begin(self.seed, step)
        loss, figures = self.loss_of(self.objective(step), self.inputs(step), generators)
        return loss, {name: float(value) for name, value in figures.items()}

    @property
    def device(self) -> torch.device:
        """Where it is learned."""
        return self.module.transformer.device

    def inputs(self, step: int) -> dict[str, Tensor]:
        """What a step learns from, on the model's device: always of the same shapes for the same objective and captions.

        Raises:
            UsageError: when the model takes actions and the examples' are missing or of another length.
        """
        batch = self._examples(step, self.objective(step))
        actions = _actions(batch, self.module.transformer.action_dim)
        tensors = {"latents": batch.latents, "begins": batch.begins} | ({} if actions is None else {"actions": actions})
        return {name: each.to(self.device) for name, each in tensors.items()} | self.module.text_inputs(batch.captions)

    def loss_of(
        self, objective: Objective, inputs: Mapping[str, Tensor], generators: Generators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of these inputs and its figures, without a word from the device to the host."""
        model = self.module.transformer
        rng = StepRandom(generators, objective.batch_size, self.rank_and_size)
        dropped = rng.uniform() < objective.dropout.caption_dropout
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            sequence = self._sequence(inputs, self.module.encode_inputs(inputs, dropped), objective)
            errors, regularisation = denoising_loss(model, sequence, objective, rng)
        figures = {f"segment_{objective.unroll.first_denoised + k}": e for k, e in enumerate(errors.detach())}
        if regularisation is None:
            return errors.mean(), figures
        figures["memory_regularisation"] = regularisation.detach()
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
        far = stride * objective.unroll.far_segments * model.segment_frames
        batch = self.examples(step, objective.batch_size, frames, context, objective.unroll.first_segment_prob, far)
        seen = own, slice(stride - 1, None, stride)
        actions = None if batch.actions is None else batch.actions[seen]
        if actions is not None and stride > 1:
            actions = torch.zeros_like(actions)
        return Batch(batch.latents[seen], batch.captions[own], batch.begins[own], actions)

    def _sequence(self, inputs: Mapping[str, Tensor], caption: Caption, objective: Objective) -> SegmentedSequence:
        model = self.module.transformer
        return SegmentedSequence(
            latents=inputs["latents"],
            caption=caption,
            begins=inputs["begins"],
            actions=inputs.get("actions"),
            segment_frames=model.segment_frames,
            context_frames=model.context_frames,
            anchor_frames=objective.baseline.num_anchor_frames,
            boundary=model.boundary,
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
