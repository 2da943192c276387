"""What a frame is told beside its latents: its noise level and, where there are any, its action and its pose."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from malt.memory.poses import NUM_FEATURES, features


class FrameConditioning(nn.Module):
    """Noise level (and action) of every latent frame to the six modulation vectors that all blocks share."""

    def __init__(self, width: int, hidden: int, action_dim: int | None = None, is_moving: bool = False) -> None:
        super().__init__()
        self.frequencies = 64
        self.embed_level = nn.Linear(2 * self.frequencies, hidden)
        self.embed_action = nn.Linear(action_dim, hidden) if action_dim else None
        self.embed_motion = nn.Linear(NUM_FEATURES, hidden) if is_moving else None
        self.to_modulation = nn.Linear(hidden, 6 * width)
        nn.init.zeros_(self.to_modulation.weight)
        nn.init.zeros_(self.to_modulation.bias)

    def forward(
        self,
        timestep: Float[Tensor, "b s"],
        actions: Float[Tensor, "b s a"] | None = None,
        step: Float[Tensor, "b e"] | None = None,
        motion: Float[Tensor, "b s 4"] | None = None,
    ) -> Float[Tensor, "b s 6 d"]:
        """Shift, scale and gate of attention and of the feed-forward layer, for every frame.

        `step` is the embedding of a `StepConditioning`, alike for all frames; `motion` the pose of each, where actions move.

        Raises:
            ValueError: when actions are given to a model that takes none, or are missing where it takes them.
        """
        if (actions is None) != (self.embed_action is None):
            raise ValueError("this model takes no actions" if self.embed_action is None else "this model needs actions")
        hidden = self.embed_level(sinusoids(timestep, self.frequencies).to(self.embed_level.weight.dtype))
        if actions is not None and self.embed_action is not None:
            hidden = hidden + self.embed_action(actions.to(hidden.dtype))
        if motion is not None and self.embed_motion is not None:
            hidden = hidden + self.embed_motion(features(motion).to(hidden.dtype))
        if step is not None:
            hidden = hidden + step[:, None]
        modulation: Tensor = self.to_modulation(F.silu(hidden)).unflatten(-1, (6, -1))
        return modulation


def sinusoids(level: Float[Tensor, "*batch"], count: int, fastest: float = 1000.0) -> Float[Tensor, "*batch f"]:
    """Cosines and sines of a noise level in [0, 1] at `count` frequencies from 1 radian to the `fastest`."""
    rates = torch.exp(torch.linspace(0, math.log(fastest), count, device=level.device))
    angles = level[..., None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
