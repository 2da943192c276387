"""`MaltPipeline`: the diffusers door onto generation. The stream of segments is the primitive, the video its consumer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.video_processor import VideoProcessor
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from malt.codecs.base import Codec
from malt.codecs.choose import codec_of
from malt.diffusion.guidance import Guidance
from malt.diffusion.schedulers import flow_scheduler
from malt.errors import UsageError
from malt.generation.chance import seeds_from
from malt.generation.malt import Caption, Driver, MaltRollout, Progress
from malt.generation.rollout import Segment
from malt.models.transformer import MaltTransformer3DModel

Words = str | list[str]
Generators = torch.Generator | list[torch.Generator] | None
MAX_CAPTION_TOKENS = 256  # for tokenizers that state no bound of their own, such as UMT5's
Value = TypeVar("Value")


@dataclass
class MaltPipelineOutput(BaseOutput):
    """frames: a list of videos (lists of PIL images), an array (b, t, H, W, 3) in [0, 1] or a tensor (b, t, 3, H, W)."""

    frames: object


class MaltPipeline(DiffusionPipeline):
    """Video of any length from a sentence, and from a first image or a first video.

    num_inference_steps, guidance_scale, memory_guidance_scale and context_noise are what the model is at its best with; a call
    may say otherwise. action_names: what the numbers of an action mean, for models that take actions.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"

    def __init__(
        self,
        transformer: MaltTransformer3DModel,
        vae: torch.nn.Module,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: SchedulerMixin,
        num_inference_steps: int = 12,
        guidance_scale: float = 2.0,
        memory_guidance_scale: float = 1.0,
        context_noise: float = 0.0,
        action_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler
        )
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            memory_guidance_scale=memory_guidance_scale,
            context_noise=context_noise,
            action_names=None if action_names is None else list(action_names),
        )

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
        width = self.transformer.config.action_dim or 0
        return list(self.config.action_names or [f"action {n}" for n in range(width // self.codec.time_compression)])

    @property
    def known_words(self) -> list[str]:
        """The words of a small language, sorted; empty for a tokenizer that takes any text."""
        vocabulary = self.tokenizer.get_vocab()
        return sorted(word for word in vocabulary if word.isalpha()) if len(vocabulary) < 1000 else []

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that the model has never seen, in their order."""
        known = set(self.known_words)
        words = ("".join(c if c.isalnum() else " " for c in prompt.lower())).split()
        return [word for word in dict.fromkeys(words) if word not in known] if known else []

    def rollout(
        self,
        prompt: Words,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        memory_guidance_scale: float | None = None,
        memory_update_interval: int = 1,
    ) -> MaltRollout:
        """The way in which these words become a video; None stands for the model's own setting.

        Raises:
            UsageError: for an empty prompt, sizes that do not fit the model, fewer than 1 step, an interval below 1.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or not (all(text.strip() for text in prompts) or self.action_names):
            raise UsageError("the prompt is empty; say what the video shows, as in 'a red circle passes behind a wall'")
        settings = self.config
        num_steps = _given(num_inference_steps, settings.num_inference_steps)
        return MaltRollout(
            transformer=self.transformer,
            codec=self.codec,
            scheduler=flow_scheduler(self.scheduler, num_steps),
            caption=self.encode_prompt(prompts),
            uncaptioned=self.encode_prompt([""] * len(prompts)),
            latent_size=self._latent_size(height, width),
            guidance=Guidance(
                text=_given(guidance_scale, settings.guidance_scale),
                memory=_given(memory_guidance_scale, settings.memory_guidance_scale),
            ),
            num_steps=num_steps,
            memory_update_interval=memory_update_interval,
            context_noise=settings.context_noise,
        )

    @torch.no_grad()
    def encode_prompt(self, prompts: list[str]) -> Caption:
        """Encoder states (b, n, e) of the prompts, and which of their tokens count (b, n)."""
        length = min(self.tokenizer.model_max_length, MAX_CAPTION_TOKENS)
        padded = {"padding": "max_length", "max_length": length, "truncation": True}
        tokens = self.tokenizer(prompts, **padded, return_tensors="pt").to(self._execution_device)
        states = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return states, tokens.attention_mask.bool()

    def stream(
        self,
        prompt: Words,
        num_frames: int = 128,
        *,
        generator: Generators = None,
        image: Float[Tensor, "3 H W"] | None = None,
        video: Float[Tensor, "t 3 H W"] | None = None,
        actions: Float[Tensor, "t a"] | None = None,
        driver: Driver | None = None,
        **settings: Any,
    ) -> Iterator[Segment]:
        """Yield decoded segments as they are made, given frames first, until there are `num_frames` frames.

        Args:
            prompt: what the video shows; a list makes several videos at once.
            num_frames: length of the video, given frames included.
            generator: source of each video's one seed, or one generator for each; the same seed gives the same video, however
                it is cut or stopped, and whatever is made beside it.
            image: a first image in [-1, 1] to go on from.
            video: a first video in [-1, 1] to go on from; as many frames as fill a latent frame, or more.
            actions: what was done in each frame of the first video or image, for models that take actions; None for nothing.
            driver: called with the last segment (None at first) and a number of frames; says what is done in each (b, t, a).
            settings: those of `rollout`: height, width, num_inference_steps, guidance_scale, ...

        Raises:
            UsageError: for fewer than 1 frame, an empty prompt, sizes that do not fit, or image and video at once.
            MaltError: when the model's output is not finite.
        """
        if num_frames < 1:
            raise UsageError(f"asked for {num_frames} frames; give at least 1")
        rollout = self.rollout(prompt, **settings)
        first = self._first_frames(image, video, rollout)
        progress = rollout.begin(seeds_from(generator, rollout.batch))
        if self.action_names and driver is None:
            raise UsageError(f"this model acts ({', '.join(self.action_names)}); give a driver that says what is done")
        done = None if first is None else self._first_actions(actions, first)
        return self._segments(rollout, progress, first, done, driver, num_frames)

    def _first_actions(self, actions: Tensor | None, first: Tensor) -> Tensor | None:
        """What was done in the first frames, for every video of the batch; nothing where nothing is said."""
        if not self.action_names:
            return actions
        if actions is None:
            return first.new_zeros(*first.shape[:2], len(self.action_names))
        if len(actions) < first.shape[1]:
            raise UsageError(f"there are actions for {len(actions)} of {first.shape[1]} first frames; give one a frame")
        return actions[None, : first.shape[1]].expand(len(first), -1, -1).to(first)

    def _segments(
        self,
        rollout: MaltRollout,
        progress: Progress,
        first: Tensor | None,
        done: Tensor | None,
        driver: Driver | None,
        num_frames: int,
    ) -> Iterator[Segment]:
        if first is not None:
            for segment, after in rollout.absorb(progress, first, done):
                progress = after
                yield replace(segment, frames=segment.frames[:, : num_frames - segment.start])
                if progress.start >= num_frames:
                    return
        yield from rollout.stream(num_frames - progress.start, progress, driver)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Words,
        num_frames: int = 128,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        memory_guidance_scale: float | None = None,
        memory_update_interval: int = 1,
        generator: Generators = None,
        image: Float[Tensor, "3 H W"] | None = None,
        video: Float[Tensor, "t 3 H W"] | None = None,
        actions: Float[Tensor, "t a"] | None = None,
        driver: Driver | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> MaltPipelineOutput | tuple:
        """Collect the whole of `stream` into one video a prompt; `output_type` is `pil`, `np` or `pt`."""
        segments = self.stream(
            prompt,
            num_frames,
            generator=generator,
            image=image,
            video=video,
            actions=actions,
            driver=driver,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            memory_guidance_scale=memory_guidance_scale,
            memory_update_interval=memory_update_interval,
        )
        collected = torch.cat([segment.frames.cpu() for segment in segments], dim=1)
        frames = VideoProcessor().postprocess_video(collected.transpose(1, 2), output_type=output_type)
        return MaltPipelineOutput(frames=frames) if return_dict else (frames,)

    def _latent_size(self, height: int | None, width: int | None) -> tuple[int, int]:
        height, width = _given(height, self.frame_size[0]), _given(width, self.frame_size[1])
        multiple = self.codec.space_compression * self.transformer.patch_size
        if height % multiple or width % multiple or min(height, width) < multiple:
            raise UsageError(f"{width}x{height} does not fit this model; give sides that are multiples of {multiple}")
        return height // self.codec.space_compression, width // self.codec.space_compression

    def _first_frames(self, image: Tensor | None, video: Tensor | None, rollout: MaltRollout) -> Tensor | None:
        if image is not None and video is not None:
            raise UsageError("give an image or a video to go on from, not both")
        fewest = rollout.codec.frames_of(1, first=True)
        first = video if image is None else image[None].expand(fewest, -1, -1, -1)
        if first is None:
            return None
        height, width = (side * rollout.codec.space_compression for side in rollout.latent_size)
        if tuple(first.shape[-2:]) != (height, width):
            raise UsageError(f"got first frames of {first.shape[-1]}x{first.shape[-2]}; this video is {width}x{height}")
        if first.shape[0] < fewest:
            raise UsageError(f"the first video has {first.shape[0]} frames; give at least {fewest}")
        return first[None].expand(len(rollout.caption[0]), -1, -1, -1, -1).to(rollout.device)


def _given(value: Value | None, default: Value) -> Value:
    return default if value is None else value
