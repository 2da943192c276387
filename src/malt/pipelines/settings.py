"""How a pipeline generates when a call says nothing, and what a call may say."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import TypedDict

from torch import Tensor

from malt.errors import UsageError
from malt.pipelines.prompt_embeds import Prompt

CAME_WITH = "_generation_defaults"  # the attribute of a transformer under which its settings travel with it


@dataclass(frozen=True)
class GenerationDefaults:
    """What a model is at its best with, and what the numbers of an action mean for models that take actions.

    They belong to the transformer and travel with it, as the `generation_config` of transformers' models does: so
    `MaltPipeline(**pipe.components)` generates as `pipe` does.
    """

    num_inference_steps: int = 12
    guidance_scale: float = 2.0
    memory_guidance_scale: float = 1.0
    context_noise: float = 0.0
    action_names: list[str] | None = None

    @classmethod
    def of(cls, transformer: object | None, given: dict[str, object]) -> "GenerationDefaults":
        """Those that came with a transformer, but for what is given and not None.

        The first pipeline of a transformer, as the one that was loaded with it, says what comes with it from then on.
        """
        said = {name: value for name, value in given.items() if value is not None}
        own = getattr(transformer, CAME_WITH, None)
        settings = replace(own or cls(), **said)
        if transformer is not None and own is None:
            setattr(transformer, CAME_WITH, settings)
        return settings

    def as_config(self) -> dict[str, object]:
        """As a pipeline's config holds them."""
        return asdict(self)


class RolloutSettings(TypedDict, total=False):
    """What a call may say of the way in which a video is made; None stands for the model's own setting.

    negative_prompt: what guidance leads away from; nothing by default. Without guidance it is not heard, and a
        pretrained base refuses it.
    height, width: of the video, in pixels.
    num_inference_steps: denoising steps of each segment.
    guidance_scale, memory_guidance_scale: how hard the prompt and the memory are obeyed; 1 is no guidance.
    memory_update_interval: segments between two memory writes.
    num_videos_per_prompt: how many videos of each prompt.
    prompt_embeds (b, n, e), prompt_attention_mask (b, n) and those of the negative prompt: what `encode_prompt` gives, in
        place of texts.
    """

    negative_prompt: Prompt | None
    height: int | None
    width: int | None
    num_inference_steps: int | None
    guidance_scale: float | None
    memory_guidance_scale: float | None
    memory_update_interval: int
    num_videos_per_prompt: int
    prompt_embeds: Tensor | None
    prompt_attention_mask: Tensor | None
    negative_prompt_embeds: Tensor | None
    negative_prompt_attention_mask: Tensor | None


def check_names(settings: Iterable[str]) -> None:
    """Refuse what is no setting: a keyword that is taken and not heard would be worse.

    Raises:
        UsageError: there is no such setting.
    """
    for name in settings:
        if name not in RolloutSettings.__annotations__:
            near = get_close_matches(name, RolloutSettings.__annotations__, n=1)
            meant = f", did you mean {near[0]}" if near else ""
            raise UsageError(f"there is no setting {name!r}{meant}; see RolloutSettings for those that there are")
