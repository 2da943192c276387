"""What a session asks of a pipeline."""

from collections.abc import Mapping
from typing import NotRequired, Protocol, TypedDict, Unpack, runtime_checkable

from torch import nn

from malt.codecs.base import Codec
from malt.diffusion.guidance import Guidance
from malt.models.video_model import VideoModel
from malt.rollouts.base import Rollout


class SessionSettings(TypedDict, total=False):
    """What a session keeps of the way in which its video is made; None stands for the model's own setting."""

    height: int | None
    width: int | None
    num_inference_steps: int | None
    guidance_scale: float | None
    memory_guidance_scale: float | None
    memory_update_interval: int
    negative_prompt: str | None


class KeptSettings(TypedDict):
    """The same with nothing left to a default that may change; negative_prompt is there only where one was given."""

    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    memory_guidance_scale: float
    memory_update_interval: int
    negative_prompt: NotRequired[str]


@runtime_checkable
class BaseRollout(Rollout, Protocol):
    """The way in which a model makes a video by itself, and what it was settled to."""

    @property
    def codec(self) -> Codec:
        """What turns latents into frames."""
        ...

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        ...

    @property
    def num_steps(self) -> int:
        """Denoising steps of each segment."""
        ...

    @property
    def guidance(self) -> Guidance:
        """How hard the prompt and the memory are obeyed."""
        ...

    @property
    def memory_update_interval(self) -> int:
        """Segments between two memory writes."""
        ...


@runtime_checkable
class SessionPipeline(Protocol):
    """A model with all that it takes to make a video; many sessions may share one, and only read it."""

    transformer: VideoModel
    vae: nn.Module
    text_encoder: nn.Module

    @property
    def codec(self) -> Codec:
        """What turns frames into latents, and back."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second of the videos that the model learned from."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the videos that the model learned from."""
        ...

    @property
    def action_names(self) -> list[str]:
        """What the numbers of an action mean; empty for models that take none."""
        ...

    @property
    def config(self) -> Mapping[str, object]:
        """What the pipeline was built with."""
        ...

    def remarks(self, prompt: str) -> list[str]:
        """What is worth knowing of a prompt before it becomes a video."""
        ...

    def rollout(self, prompt: str, **settings: Unpack[SessionSettings]) -> BaseRollout:
        """The way in which these words become a video."""
        ...
