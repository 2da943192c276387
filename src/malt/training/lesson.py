"""One training step on one batch: walk over the clean segments, then denoise them, each with the memory before it."""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.flow import interpolate, logit_normal, velocity
from malt.models.transformer import MaltTransformer3DModel
from malt.training.chance import Chance
from malt.training.objective import Objective
from malt.training.walk import Walk, Walked
from malt.training.window import Window


class Learned(NamedTuple):
    """errors: mean squared error of each denoised segment's velocity, over videos and draws. regularisation: see `Walked`."""

    errors: Float[Tensor, " k"]
    regularisation: Float[Tensor, ""] | None


class Lesson:
    """The noise, and the errors made in taking it away."""

    def __init__(self, model: MaltTransformer3DModel, objective: Objective, chance: Chance) -> None:
        self.model, self.objective, self.chance = model, objective, chance
        self.denoised = objective.draws * (*range(objective.first_denoised, objective.num_segments),)

    def learn(self, window: Window) -> Learned:
        """The errors of the segments from `objective.first_denoised` on, and the regularisation where it is asked for."""
        walked = Walk(self.model, self.objective, self.chance).over(window)
        prediction, target = self._denoise(window, walked)
        squared = (prediction.float() - target).square()
        sizes = {"draw": self.objective.draws, "k": self.objective.num_denoised}
        errors = rearrange(squared, "(draw k b) s c h w -> k (draw b s c h w)", **sizes).mean(dim=1)
        return Learned(errors, walked.regularisation)

    def _denoise(self, window: Window, walked: Walked) -> tuple[Tensor, Tensor]:
        """Predicted and true velocity of all segments, context left out, in one batch (draw, segment, video)."""
        groups, context = len(self.denoised), window.context_frames
        clean = torch.cat([window.behind(walked.seen, index) for index in self.denoised])
        level = self._levels(window)
        eps = self.chance.normal(groups, clean.shape[1:]).to(clean)
        states, mask = (repeat(x, "b ... -> (k b) ...", k=groups) for x in window.caption)
        prediction, _ = self.model(
            interpolate(clean, eps, level),
            level,
            walked.memory,
            states,
            mask,
            actions=window.actions_of(*self.denoised, with_context=True),
            num_context_frames=context,
            renew=False,
        )
        unknown = slice(
            context + self.objective.known_first, context + window.segment_frames - self.objective.known_last
        )
        return prediction[:, unknown], velocity(clean, eps)[:, unknown]

    def _levels(self, window: Window) -> Tensor:
        """Noise levels (draw and segment, frame): the context's slight, or 1 where there is none; the segment's logit-normal."""
        objective, groups = self.objective, len(self.denoised)
        num_unknown = window.segment_frames - objective.known_first - objective.known_last
        drawn = self.chance.normal(groups, (num_unknown if objective.level_per_frame else 1,))
        segment = logit_normal(drawn, objective.level_mean).expand(-1, num_unknown)
        context = known = objective.context_noise * self.chance.uniform(groups)
        none = self.chance.uniform(groups) < objective.context_dropout
        begin = torch.tensor([index == 0 for index in self.denoised], device=none.device)
        none |= (begin[:, None] & window.begins).flatten()
        context = torch.where(none, 1.0, context)
        counts = (window.context_frames, objective.known_first, objective.known_last)
        before, first, last = (repeat(x, "n -> n s", s=n) for x, n in zip((context, known, known), counts, strict=True))
        return torch.cat([before, first, segment, last], dim=1).to(window.latents)
