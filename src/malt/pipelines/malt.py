"""`MaltPipeline`: the diffusers door onto generation. The stream of segments is the primitive, the video its consumer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TypedDict, Unpack

import numpy as np
import torch
from diffusers.loaders import CogVideoXLoraLoaderMixin
from diffusers.utils import BaseOutput
from diffusers.video_processor import VideoProcessor
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from malt.errors import CheckpointError, UsageError
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES
from malt.pipelines.input_frames import Pictures, Videos, read_images, read_videos
from malt.pipelines.prompt_embeds import Prompt
from malt.pipelines.rollout_pipeline import RolloutPipeline
from malt.pipelines.settings import RolloutSettings
from malt.pipelines.step_callback import TENSOR_INPUTS, StepCallback, step_end
from malt.rollouts.base import ActionPolicy, RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from malt.rollouts.noise import seeds_from

Generators = torch.Generator | list[torch.Generator] | None
Frames = list[list[Image.Image]] | np.ndarray | Tensor
OUTPUT_TYPES = ("pil", "np", "pt", "latent")


class StreamSettings(TypedDict, total=False):
    """What a call may say beside what other video pipelines of diffusers take; see `MaltPipeline.stream`."""

    image: Pictures | None
    video: Videos | None
    actions: Float[Tensor, "t a"] | None
    driver: ActionPolicy | None
    memory_guidance_scale: float | None
    memory_update_interval: int


@dataclass
class MaltPipelineOutput(BaseOutput):
    """What a call made, one video a prompt.

    frames: lists of Pillow images, an array (b, t, H, W, 3) in [0, 1], a tensor (b, t, 3, H, W) in [0, 1], or latents
    (b, s, c, h, w), which `pipe.codec.decode` takes.
    """

    frames: Frames


# The mixin is the plain one among diffusers' own: a LoRA of a transformer, and of nothing else.
class MaltPipeline(RolloutPipeline, CogVideoXLoraLoaderMixin):
    """Video of any length from a sentence, and from a first image or a first video."""

    _callback_tensor_inputs = list(TENSOR_INPUTS)
    _rollout: MaltRollout | None = None
    _interrupt = False

    @property
    def guidance_scale(self) -> float | None:
        """The guidance of the latest call; None before any."""
        return None if self._rollout is None else self._rollout.guidance.text

    @property
    def num_timesteps(self) -> int | None:
        """How often a segment of the latest call goes through the model; None before any."""
        if self._rollout is None:
            return None
        return (self._rollout.num_steps - 1) * int(self._rollout.scheduler.order) + 1

    @property
    def interrupt(self) -> bool:
        """Whether the latest call is to end with the segment in the making; a callback may set `_interrupt`."""
        return self._interrupt

    def stream(
        self,
        prompt: Prompt | None = None,
        num_frames: int = 128,
        *,
        generator: Generators = None,
        image: Pictures | None = None,
        video: Videos | None = None,
        actions: Float[Tensor, "t a"] | None = None,
        driver: ActionPolicy | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSOR_INPUTS,
        **settings: Unpack[RolloutSettings],
    ) -> Iterator[Segment]:
        """Yield decoded segments as they are made, given frames first, until there are `num_frames` frames.

        Args:
            prompt: what the video shows; a list makes several videos at once.
            num_frames: length of the video, given frames included.
            generator: source of each video's one seed, or one generator for each; the same seed gives the same video, however
                it is cut or stopped, and whatever is made beside it.
            image: a first image to go on from, or one for each prompt; see `input_frames` for what is taken.
            video: a first video to go on from, or one for each prompt; as many frames as fill a latent frame, or more.
            actions: what was done in each frame of the first video or image, for models that take actions; None for nothing.
            driver: called with the last segment (None at first) and a number of frames; says what is done in each (b, t, a).
            callback_on_step_end: called with the pipeline, the number of the step in its segment, its timestep and a
                dictionary, behind each denoising step of each segment; may return a dictionary with other `latents`.
            callback_on_step_end_tensor_inputs: what the dictionary holds: `latents` or nothing.
            settings: those of `rollout`: height, width, num_inference_steps, guidance_scale, ...

        Raises:
            UsageError: for fewer than 1 frame, an empty prompt, sizes that do not fit, or image and video at once.
            MaltError: when the model's output is not finite.
        """
        if num_frames < 1:
            raise UsageError(f"asked for {num_frames} frames; give at least 1")
        on_step_end = step_end(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        rollout = replace(self.rollout(prompt, **settings), on_step_end=on_step_end)
        first = self._first_frames(image, video, rollout, rollout.batch // settings.get("num_videos_per_prompt", 1))
        progress = rollout.begin(seeds_from(generator, rollout.batch))
        if self.action_names and driver is None:
            raise UsageError(f"this model acts ({', '.join(self.action_names)}); give a driver that says what is done")
        done = None if first is None else self._first_actions(actions, first)
        self._rollout, self._interrupt = rollout, False
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
        progress: RolloutState,
        first: Tensor | None,
        done: Tensor | None,
        driver: ActionPolicy | None,
        num_frames: int,
    ) -> Iterator[Segment]:
        if first is not None:
            for segment, after in rollout.prefill(progress, first, done):
                progress = after
                yield replace(segment, frames=segment.frames[:, : num_frames - segment.start])
                if progress.start >= num_frames:
                    return
        for segment in rollout.stream(num_frames - progress.start, progress, driver):
            yield segment
            if self.interrupt:
                return

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt | None = None,
        negative_prompt: Prompt | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 128,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_videos_per_prompt: int = 1,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Float[Tensor, "b n e"] | None = None,
        prompt_attention_mask: Float[Tensor, "b n"] | None = None,
        negative_prompt_embeds: Float[Tensor, "b n e"] | None = None,
        negative_prompt_attention_mask: Float[Tensor, "b n"] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSOR_INPUTS,
        **ours: Unpack[StreamSettings],
    ) -> MaltPipelineOutput | tuple[Frames]:
        """Collect the whole of `stream` into one video for each prompt; arguments are those of `stream` and `rollout`.

        They are named and ordered as in diffusers' video pipelines, but for `latents`, which are not taken: each segment
        draws its noise from a seed. `output_type` is `pil`, `np`, `pt` or `latent`; see `MaltPipelineOutput`.

        Raises:
            UsageError: what was asked for cannot be done; nothing was made.
            MaltError: when the model's output is not finite.
        """
        _check_output(output_type, latents)
        segments = self.stream(
            prompt,
            num_frames,
            generator=generator,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_videos_per_prompt=num_videos_per_prompt,
            prompt_embeds=prompt_embeds,
            prompt_attention_mask=prompt_attention_mask,
            negative_prompt_embeds=negative_prompt_embeds,
            negative_prompt_attention_mask=negative_prompt_attention_mask,
            **ours,
        )
        frames = self._collect(segments, num_frames, output_type)
        self.maybe_free_model_hooks()
        return MaltPipelineOutput(frames=frames) if return_dict else (frames,)

    def _collect(self, segments: Iterator[Segment], num_frames: int, output_type: str) -> Frames:
        collected: list[Tensor] = []
        with self.progress_bar(total=num_frames) as bar:
            for segment in segments:
                collected.append((segment.latents if output_type == "latent" else segment.frames).cpu())
                bar.update(segment.frames.shape[1])
        whole = torch.cat(collected, dim=1)
        if output_type == "latent":
            return whole[:, : self._num_latents(num_frames)]
        frames: Frames = VideoProcessor().postprocess_video(whole.transpose(1, 2), output_type=output_type)
        return frames

    def _num_latents(self, num_frames: int) -> int:
        """How many latent frames it takes to decode so many frames."""
        begins = self.codec.frames_of(1, first=True)
        return 1 + max(0, -(-(num_frames - begins) // self.codec.time_compression))

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | PathLike[str] | dict[str, Tensor],
        adapter_name: str | None = None,
        **kwargs: object,
    ) -> None:
        """Add a LoRA to the transformer, from safetensors; `unload_lora_weights` takes it away.

        Raises:
            CheckpointError: it cannot be read, or nothing in it is of this transformer.
        """
        source = pretrained_model_name_or_path_or_dict
        name = "of these tensors" if isinstance(source, dict) else source
        before = self.get_list_adapters().get("transformer", [])
        kwargs = {"use_safetensors": True} | kwargs  # a pickle can run code
        try:
            super().load_lora_weights(source, adapter_name, **kwargs)
        except (*WHAT_LOADING_RAISES, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0][:200]
            raise CheckpointError(f"the LoRA {name} cannot be loaded ({reason}); give safetensors that fit") from error
        if self.get_list_adapters().get("transformer", []) == before:
            raise CheckpointError(f"the LoRA {name} holds nothing of this transformer; give one that was made for it")

    def _first_frames(
        self, image: Pictures | None, video: Videos | None, rollout: MaltRollout, num_prompts: int
    ) -> Float[Tensor, "b t 3 H W"] | None:
        if image is not None and video is not None:
            raise UsageError("give an image or a video to go on from, not both")
        fewest = rollout.codec.frames_of(1, first=True)
        height, width = (side * rollout.codec.space_compression for side in rollout.latent_size)
        if image is not None:
            images = read_images(image, (height, width), num_prompts, rollout.batch)
            return images[:, None].expand(-1, fewest, -1, -1, -1).to(rollout.device)
        if video is None:
            return None
        videos = read_videos(video, (height, width), num_prompts, rollout.batch)
        if videos.shape[1] < fewest:
            raise UsageError(f"the first video has {videos.shape[1]} frames; give at least {fewest}")
        return videos.to(rollout.device)


def _check_output(output_type: str, latents: Tensor | None) -> None:
    if output_type not in OUTPUT_TYPES:
        raise UsageError(f"there is no output type {output_type!r}; choose one of {', '.join(OUTPUT_TYPES)}")
    if latents is not None:
        raise UsageError("latents are not taken, as each segment draws its noise; give a generator for the same noise")
