"""What a pretrained base's own pipeline knows beside its networks, and how it makes conditions of words.

How to add a family. Write a subclass of `BaseParts` here that says what differs from Wan, and name the pipelines it serves
in `PARTS` of the registry. Sizes, steps and guidance are read from the pipeline's own call.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import SchedulerMixin

from malt.codecs.base import Codec
from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guidance
from malt.diffusion.schedulers import flow_scheduler
from malt.errors import UsageError


class BaseParts:
    """Of one pipeline of diffusers; as it stands here, those of a pipeline like Wan's.

    frame_rate: frames a second. knows_levels: whether the base learned a noise level for every frame; else what stands before
    a segment has the noise level of the segment. unused: names of the pipeline's parts that are neither fetched nor loaded.
    """

    frame_rate: float = 16.0
    knows_levels: bool = False
    unused: tuple[str, ...] = ()

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def default(self, name: str, otherwise: Any = None) -> Any:
        """What the pipeline takes where a call does not say."""
        found = inspect.signature(type(self.pipe).__call__).parameters.get(name)
        given = None if found is None or found.default is inspect.Parameter.empty else found.default
        return otherwise if given is None else given

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the videos that the base learned from."""
        return self.default("height", 480), self.default("width", 832)

    @property
    def num_frames(self) -> int:
        """How long a clip of the base is."""
        return int(self.default("num_frames", 81))

    @property
    def num_steps(self) -> int:
        """Denoising steps."""
        return int(self.default("num_inference_steps", 50))

    @property
    def guidance_scale(self) -> float:
        """How closely the prompt is followed."""
        return float(self.default("guidance_scale", 5.0))

    @property
    def text_length(self) -> int | None:
        """How many tokens a caption is padded to: what the pipeline's index says of its base, else what its call takes."""
        told: int | None = self.pipe.config.get("_max_sequence_length")
        return told or self.default("max_sequence_length")

    def window(self, num_latents: int) -> int:
        """How many latent frames of a clip of so many are to be those before it, where the clip goes on."""
        return max(1, num_latents // 4)

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """Conditions of a video of each prompt, and of what it is led away from; None where it is not led."""
        states, others = self.pipe.encode_prompt(
            prompts, negatives, negatives is not None, max_sequence_length=self.text_length
        )
        caption = plain_caption(states)
        return caption, caption if others is None else plain_caption(others)

    @property
    def goes_on_from_frame(self) -> bool:
        """Whether a segment is made from a frame alone, as `from_frame` tells it."""
        return False

    def from_frame(self, codec: Codec, frame: torch.Tensor, num_latents: int) -> Mapping[str, torch.Tensor]:
        """What the base is told of a frame (b, 1, 3, H, W) that a clip of so many latent frames begins with, by name."""
        raise NotImplementedError

    def guided(self, caption: Caption, scale: float) -> Caption:
        """The conditions of a base that is told how closely to follow the prompt; of others, what they were."""
        return caption

    def guidance(self, scale: float, memory: float) -> Guidance:
        """How passes are weighed."""
        return Guidance(text=scale, memory=memory)

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """The steps in which a clip of this size is made."""
        return BaseSchedule(flow_scheduler(self.pipe.scheduler, num_steps))

    def remarks(self) -> list[str]:
        """What the base's own pipeline would do and this does not, a sentence each."""
        return []


class MaskedTextParts(BaseParts):
    """Those whose pipeline gives a mask of the text's tokens behind its states, of the prompts and then of what is avoided."""

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """As the pipeline pads it."""
        states, mask, others, other_mask = self.pipe.encode_prompt(
            prompts, negatives, negatives is not None, max_sequence_length=self.text_length
        )
        caption = plain_caption(states, mask)
        return caption, caption if others is None else plain_caption(others, other_mask)


def plain_caption(states: torch.Tensor, mask: torch.Tensor | None = None, **added: torch.Tensor) -> Caption:
    """A caption of which those tokens of a mask count, or without one all but those that pad it with zeros."""
    counting = states.ne(0).any(dim=-1) if mask is None else mask.bool()
    return Caption(states, counting, added)


def shifted_by_tokens(
    scheduler: SchedulerMixin, num_steps: int, tokens: int, lengths: tuple[int, int], shifts: tuple[float, float]
) -> BaseSchedule:
    """Equal steps, shifted by how many tokens a clip has where the scheduler shifts so.

    Args:
        scheduler: of flow matching; its settings come before what is given here.
        num_steps: denoising steps.
        tokens: of the clip.
        lengths: the shortest and the longest clip, in tokens.
        shifts: of these two; what lies between them or beyond lies on a line.

    Raises:
        UsageError: there are too few steps, or the scheduler does not follow the flow that the model predicts.
    """
    config = scheduler.config
    if config.get("shift_terminal") and num_steps < 2:
        raise UsageError(f"asked for {num_steps} denoising steps; this base's scheduler takes at least 2")
    made = flow_scheduler(scheduler, num_steps)
    if not config.get("use_dynamic_shifting"):
        return BaseSchedule(made, linear_sigmas)
    least, most = config.get("base_image_seq_len", lengths[0]), config.get("max_image_seq_len", lengths[1])
    low, high = config.get("base_shift", shifts[0]), config.get("max_shift", shifts[1])
    slope = (high - low) / (most - least)
    return BaseSchedule(made, linear_sigmas, mu=tokens * slope + low - slope * least)


def linear_sigmas(num_steps: int) -> list[float]:
    """Equal steps from 1 to a step above 0."""
    return [1 - n / num_steps for n in range(num_steps)]
