"""What a pipeline is to those who use it: the stream of segments is the primitive, the video its consumer."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, TypedDict, Unpack, runtime_checkable

import torch
from diffusers.video_processor import VideoProcessor
from jaxtyping import Float
from torch import Tensor, nn

from malt.codecs.base import Codec
from malt.errors import UsageError
from malt.models.video_model import VideoModel
from malt.pipelines.input_frames import Pictures, Videos, read_images, read_videos
from malt.pipelines.prompt_embeds import Prompt
from malt.pipelines.settings import RolloutSettings
from malt.pipelines.step_callback import TENSOR_INPUTS, StepCallback, step_end
from malt.pipelines.video_output import Frames, MaltPipelineOutput, check_output
from malt.rollouts.base import ActionPolicy, RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from malt.rollouts.noise import seeds_from
from malt.wording import counted

Generators = torch.Generator | list[torch.Generator] | None


@runtime_checkable
class ProgressBar(Protocol):
    """What shows how far a call has come."""

    def update(self, n: int) -> object: ...  # noqa: D102


class StreamSettings(TypedDict, total=False):
    """What a call may say beside what other video pipelines of diffusers take; see `MaltPipeline.stream`."""

    image: Pictures | None
    video: Videos | None
    actions: Float[Tensor, "t a"] | None
    driver: ActionPolicy | None
    memory_guidance_scale: float | None
    memory_update_interval: int


class VideoPipeline(ABC):
    """Video of any length from a sentence, and from a first image or a first video; what it is made of, a subclass says."""

    transformer: VideoModel
    vae: nn.Module
    text_encoder: nn.Module
    _callback_tensor_inputs = list(TENSOR_INPUTS)
    _rollout: MaltRollout | None = None
    _interrupt = False

    @property
    @abstractmethod
    def config(self) -> Mapping[str, object]:
        """What the pipeline was built with."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the networks are."""

    @property
    @abstractmethod
    def codec(self) -> Codec:
        """What turns frames into latents, and back."""

    @property
    @abstractmethod
    def frame_rate(self) -> float:
        """Frames a second of the videos that the model learned from."""

    @property
    @abstractmethod
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the videos that the model learned from."""

    @property
    @abstractmethod
    def action_names(self) -> list[str]:
        """What the numbers of an action mean; empty for models that take none."""

    @property
    @abstractmethod
    def known_words(self) -> list[str]:
        """The words of a small language, sorted; empty for a model that takes any text."""

    @abstractmethod
    def rollout(self, prompt: Prompt | None = None, **settings: Unpack[RolloutSettings]) -> MaltRollout:
        """The way in which these words become a video."""

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that the model has never seen, in their order."""
        known = set(self.known_words)
        words = ("".join(c if c.isalnum() else " " for c in prompt.lower())).split()
        return [word for word in dict.fromkeys(words) if word not in known] if known else []

    @abstractmethod
    def remarks(self, prompt: str) -> list[str]:
        """What is worth knowing of a prompt before it becomes a video."""

    @abstractmethod
    def progress_bar(self, *, total: int) -> AbstractContextManager[ProgressBar]:
        """A bar that is there while frames are made."""

    @abstractmethod
    def maybe_free_model_hooks(self) -> None:
        """Let offloaded models leave the device."""

    @property
    def precision(self) -> str:
        """What a video is gone on with by name, if `auto` would choose by the device; `auto` where it does not."""
        return "auto"

    @property
    def guidance_scale(self) -> float | None:
        """The guidance of the latest call; None before any."""
        return None if self._rollout is None else self._rollout.guidance.scale

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
        check_output(output_type, latents)
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
            raise UsageError(f"the first video has {counted(videos.shape[1], 'frame')}; give at least {fewest}")
        return videos.to(rollout.device)
