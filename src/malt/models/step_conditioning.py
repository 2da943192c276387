"""What a model of few steps is told of each: the noise level that it leads to, and the guidance that it stands for."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from malt.models.conditioning import sinusoids

NEXT, SCALES = "next_timestep", ("guidance_scale", "memory_guidance_scale")
STEPS = "num_inference_steps"  # under which a model notes how many steps it was distilled for
NAMES = (NEXT, *SCALES)
Distilled = Mapping[str, Sequence[float]]  # the range of each of `SCALES`, and the numbers of `STEPS`


class StepConditioning(nn.Module):
    """The end of a step and its guidance scales, embedded as the noise level is (arXiv:2210.03142, arXiv:2410.12557).

    It begins with a last layer of zeros, so that a model that is given it makes what it made before.

    Args:
        hidden: width of the embedding.
        distilled: the range of each scale.
    """

    def __init__(self, hidden: int, distilled: Distilled) -> None:
        super().__init__()
        self.ranges = {name: (float(distilled[name][0]), float(distilled[name][1])) for name in SCALES}
        self.frequencies, self.fastest = 16, 30.0  # radians; scales and levels of neighbouring steps are alike
        width = 2 * self.frequencies * len(NAMES)
        self.embed, self.to_hidden = nn.Linear(width, hidden), nn.Linear(hidden, hidden)
        nn.init.zeros_(self.to_hidden.weight)
        nn.init.zeros_(self.to_hidden.bias)

    def forward(self, added: Mapping[str, Float[Tensor, " b"]]) -> Float[Tensor, "b e"]:
        """What is added to the embedding of every frame's noise level.

        Raises:
            ValueError: one of `NAMES` is missing, or there is another.
        """
        if added.keys() != set(NAMES):
            raise ValueError(f"a step is told its {', '.join(NAMES)}, and not {', '.join(added)}")
        places = [added[NEXT].float(), *(self._within(name, added[name].float()) for name in SCALES)]
        told = torch.cat([sinusoids(place, self.frequencies, self.fastest) for place in places], dim=-1)
        embedded: Tensor = self.to_hidden(F.silu(self.embed(told.to(self.embed.weight.dtype))))
        return embedded

    def _within(self, name: str, scale: Tensor) -> Tensor:
        """Where in its range a scale lies, 0 to 1."""
        low, high = self.ranges[name]
        return (scale - low) / (high - low) if high > low else torch.zeros_like(scale)
