"""An adapter that was distilled: it makes a segment in few passes, each of which is guided already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from malt.diffusion.embedded_guidance import warn_of_steps
from malt.errors import UsageError

DISTILLED = "distilled"  # what an adapter's settings call it


@dataclass(frozen=True)
class FewSteps:
    """What an adapter was distilled for.

    num_steps: that were practised. shift: of their noise levels. guidance_scale, memory_guidance_scale: that it has learned.
    """

    num_steps: tuple[int, ...]
    shift: float
    guidance_scale: float
    memory_guidance_scale: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "FewSteps | None":
        """As an adapter's settings say; None for one that was not distilled."""
        if (made_for := settings.get(DISTILLED)) is None:
            return None
        scales = float(settings["guidance_scale"]), float(settings["memory_guidance_scale"])
        return cls(tuple(made_for["num_inference_steps"]), float(made_for["shift"]), *scales)

    def check(self, guidance_scale: float, memory_guidance_scale: float, num_steps: int) -> None:
        """Refuse another guidance than the one that was learned; of other steps a warning is logged.

        Raises:
            UsageError: for such a guidance.
        """
        asked = {"guidance scale": guidance_scale, "memory guidance scale": memory_guidance_scale}
        learned = self.guidance_scale, self.memory_guidance_scale
        for (name, scale), own in zip(asked.items(), learned, strict=True):
            if scale != own:
                raise UsageError(
                    f"the {name} is {scale:g}, and this distilled adapter has learned {own:g}; leave it out, or use its teacher"
                )
        warn_of_steps(num_steps, self.num_steps)

    @property
    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        """Its steps are whole: what it was not taught, another scheduler would mix."""
        return FlowMatchEulerDiscreteScheduler(shift=self.shift)
