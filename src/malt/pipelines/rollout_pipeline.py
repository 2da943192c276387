"""What a pipeline is made of, what is known of its model, and the rollout that it makes of words."""

from collections.abc import Sequence
from os import PathLike
from typing import Self, TypeAlias, TypeVar, Unpack

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from malt.codecs.base import Codec
from malt.codecs.registry import codec_of
from malt.diffusion.caption import Caption
from malt.diffusion.embedded_guidance import guidance_of
from malt.diffusion.guidance import Guidance
from malt.diffusion.sampling import noise_levels
from malt.diffusion.schedulers import flow_scheduler
from malt.errors import UsageError
from malt.models.autoencoder import AutoencoderMalt
from malt.models.transformer import MaltTransformer3DModel
from malt.models.video_model import VideoModel
from malt.models.weight_layout import lay_out_by_input
from malt.pipelines.packaged import packaged_models
from malt.pipelines.prompt_embeds import Embeds, Prompt, PromptEncoder, check_embeds, pair, read_texts
from malt.pipelines.saved_pipeline import SavedPipeline
from malt.pipelines.settings import GenerationDefaults, RolloutSettings, check_names
from malt.rollouts.malt import MaltRollout
from malt.threads import watch_cores

Autoencoder: TypeAlias = AutoencoderMalt | AutoencoderKL | AutoencoderKLWan | AutoencoderTiny
Value = TypeVar("Value")


class RolloutPipeline(SavedPipeline):
    """A transformer, an autoencoder, a text encoder and a scheduler, and the rollout that they make of words.

    Args:
        num_inference_steps, guidance_scale, memory_guidance_scale, context_noise: what the model is at its best with; a call
            may say otherwise. None is what came with the transformer.
        action_names: what the numbers of an action mean, for models that take actions.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _optional_components = ["text_encoder", "tokenizer"]

    def __init__(
        self,
        transformer: MaltTransformer3DModel,
        vae: Autoencoder,
        text_encoder: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase | None,
        scheduler: SchedulerMixin,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        memory_guidance_scale: float | None = None,
        context_noise: float | None = None,
        action_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        watch_cores()
        lay_out_by_input(transformer)
        self.register_modules(
            transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler
        )
        settings = GenerationDefaults.of(
            transformer,
            {
                "num_inference_steps": num_inference_steps,
                "guidance_scale": guidance_scale,
                "memory_guidance_scale": memory_guidance_scale,
                "context_noise": context_noise,
                "action_names": None if action_names is None else list(action_names),
            },
        )
        self.register_to_config(**settings.as_config())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: object) -> Self:
        """A pipeline from a folder, from the Hugging Face hub, or one of the package: "default", "teacher", "drive" or "maze".

        Keywords are those of `DiffusionPipeline.from_pretrained`: `dtype` (single precision by default), `variant="fp16"`,
        components, ...
        """
        if not kwargs.keys() & {"dtype", "torch_dtype"}:
            kwargs["dtype"] = torch.float32  # as diffusers loads its own; transformers would take what is stored
        name = str(pretrained_model_name_or_path)
        pipe: Self = super().from_pretrained(packaged_models().get(name, name), **kwargs)
        return pipe

    @property
    def codec(self) -> Codec:
        """The autoencoder behind the codec seam."""
        return codec_of(self.vae)

    @property
    def frame_rate(self) -> float:
        """Frames a second of the videos that the model learned from."""
        return float(getattr(self.vae.config, "frame_rate", 16.0))

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the videos that the model learned from."""
        size = getattr(self.vae.config, "frame_size", None) or (64, 64)
        return int(size[0]), int(size[1])

    @property
    def action_names(self) -> list[str]:
        """What the numbers of an action mean; empty for models that take none."""
        width = self.transformer.action_dim or 0
        return list(self.config.action_names or [f"action {n}" for n in range(width // self.codec.time_compression)])

    @property
    def known_words(self) -> list[str]:
        """The words of a small language, sorted; empty for a tokenizer that takes any text."""
        vocabulary = {} if self.tokenizer is None else self.tokenizer.get_vocab()
        return sorted(word for word in vocabulary if word.isalpha()) if len(vocabulary) < 1000 else []

    def remarks(self, prompt: str) -> list[str]:
        """What is worth knowing of a prompt before it becomes a video: words without meaning, an end that is not read."""
        remarks = []
        if unknown := self.unknown_words(prompt):
            known = ", ".join(self.known_words)
            remarks.append(f"the model does not know {', '.join(unknown)}; it knows: {known}")
        if unread := self._prompt_encoder.unread(prompt):
            remarks.append(f"the prompt is too long for the model, which does not read {unread!r}")
        return remarks

    def rollout(self, prompt: Prompt | None = None, **settings: Unpack[RolloutSettings]) -> MaltRollout:
        """The way in which these words become a video.

        Args:
            prompt: what the video shows; a list makes several videos at once.
            settings: see `RolloutSettings`.

        Raises:
            UsageError: for a setting that there is not, an empty prompt, sizes that do not fit the model, fewer than 1 step,
                an interval below 1, a scheduler that does not follow the flow that the model predicts, or a guidance scale
                that a distilled model was not made for.
        """
        check_names(settings)
        texts = None if prompt is None else read_texts(prompt)
        if texts is not None and (not texts or not (all(text.strip() for text in texts) or self.action_names)):
            raise UsageError("the prompt is empty; say what the video shows, as in 'a red circle passes behind a wall'")
        embeds = self.encode_prompt(
            texts,
            settings.get("negative_prompt"),
            settings.get("num_videos_per_prompt", 1),
            settings.get("prompt_embeds"),
            settings.get("negative_prompt_embeds"),
            settings.get("prompt_attention_mask"),
            settings.get("negative_prompt_attention_mask"),
        )
        num_steps = _given(settings.get("num_inference_steps"), self.config.num_inference_steps)
        scheduler = flow_scheduler(self.scheduler, num_steps)
        return MaltRollout(
            transformer=self.transformer,
            codec=self.codec,
            scheduler=scheduler,
            caption=Caption(*embeds[:2]),
            uncaptioned=Caption(*embeds[2:]),
            latent_size=self._latent_size(settings.get("height"), settings.get("width")),
            guidance=self._guidance(scheduler, num_steps, settings),
            num_steps=num_steps,
            memory_update_interval=settings.get("memory_update_interval", 1),
            context_noise=self.config.context_noise,
        )

    def _guidance(self, scheduler: SchedulerMixin, num_steps: int, settings: RolloutSettings) -> Guidance:
        distilled = self.transformer.distilled
        if distilled and not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise UsageError(
                f"a distilled model takes whole steps, which the {type(scheduler).__name__} would mix; use "
                "FlowMatchEulerDiscreteScheduler"
            )
        return guidance_of(
            distilled,
            noise_levels(scheduler, num_steps).tolist() if distilled else (),
            text=_given(settings.get("guidance_scale"), self.config.guidance_scale),
            memory=_given(settings.get("memory_guidance_scale"), self.config.memory_guidance_scale),
            avoids=bool(settings.get("negative_prompt")) or settings.get("negative_prompt_embeds") is not None,
        )

    def encode_prompt(
        self,
        prompt: Prompt | None = None,
        negative_prompt: Prompt | None = None,
        num_videos_per_prompt: int = 1,
        prompt_embeds: Float[Tensor, "b n e"] | None = None,
        negative_prompt_embeds: Float[Tensor, "b n e"] | None = None,
        prompt_attention_mask: Float[Tensor, "b n"] | None = None,
        negative_prompt_attention_mask: Float[Tensor, "b n"] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encoder states (b, n, e) of the prompts and which of their tokens count (b, n), then of the negative prompts.

        Raises:
            UsageError: for no prompt, prompts and embeddings at once, or numbers and shapes that do not fit.
        """
        shown = self._embeds("prompt", prompt, prompt_embeds, prompt_attention_mask)
        if negative_prompt_embeds is None and isinstance(negative_prompt, str | None):
            negative_prompt = [negative_prompt or ""] * len(shown[0])
        avoided = self._embeds(
            "negative_prompt", negative_prompt, negative_prompt_embeds, negative_prompt_attention_mask
        )
        first, second = pair(shown, avoided, num_videos_per_prompt)
        return (*first, *second)

    @property
    def _prompt_encoder(self) -> PromptEncoder:
        return PromptEncoder(self.tokenizer, self.text_encoder, self._execution_device)

    def _embeds(self, option: str, texts: Prompt | None, embeds: Tensor | None, mask: Tensor | None) -> Embeds:
        if embeds is None:
            states, counts = self._prompt_encoder.encode(read_texts(texts, option))
            return states.to(self.transformer.dtype), counts
        if texts is not None:
            raise UsageError(f"both {option} and {option}_embeds were given; give one of them")
        return check_embeds(embeds, mask, (self._execution_device, self.transformer.dtype), option)

    def _latent_size(self, height: int | None, width: int | None) -> tuple[int, int]:
        height, width = _given(height, self.frame_size[0]), _given(width, self.frame_size[1])
        return latent_size(height, width, self.codec, self.transformer)


def latent_size(height: int, width: int, codec: Codec, model: VideoModel) -> tuple[int, int]:
    """Height and width of the latents of frames of this size.

    Raises:
        UsageError: they cannot be cut into the model's tokens.
    """
    side = codec.space_compression
    rows, columns = (side * patch for patch in model.patch_size)
    if height % rows or width % columns or min(height, width) < min(rows, columns):
        multiple = f"{rows}" if rows == columns else f"{columns} across and {rows} down"
        raise UsageError(f"{width}x{height} does not fit this model; give sides that are multiples of {multiple}")
    return height // side, width // side


def _given(value: Value | None, default: Value) -> Value:
    return default if value is None else value
