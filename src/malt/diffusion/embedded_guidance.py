"""Guidance that a distilled model was taught to make by itself: its scales are told, and a step is one pass."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.guidance import ROUNDING, Guidance, Guided, Latents, Predict
from malt.errors import UsageError
from malt.memory.state import Memory, join


@dataclass(frozen=True, kw_only=True)
class EmbeddedGuidance(Guidance):
    """The guidance of a distilled model (arXiv:2210.03142).

    levels: the noise levels that the steps lead through, from noise to nothing. avoids: whether there is a negative prompt;
    the model knows none, so it costs a second pass, and the scale is 1 in both.
    """

    levels: tuple[float, ...]
    avoids: bool = False

    def prepare(self, memory: Memory, caption: Caption, uncaptioned: Caption) -> Guided:
        """The conditions of the one pass, or of two where something is avoided."""
        if not self.avoids or self.text == 1:
            return StepGuided(memory, self._told(caption, self.text), (1.0,), levels=self.levels)
        captions = Caption.join([self._told(caption, 1.0), self._told(uncaptioned, 1.0)])
        return StepGuided(join([memory, memory]), captions, (self.text, 1 - self.text), levels=self.levels)

    def _told(self, caption: Caption, text: float) -> Caption:
        scales = {"guidance_scale": text, "memory_guidance_scale": self.memory}
        like = caption.states
        added = {name: like.new_full((len(caption),), scale, dtype=torch.float32) for name, scale in scales.items()}
        return replace(caption, added={**caption.added, **added})


@dataclass(frozen=True)
class StepGuided(Guided):
    """The conditions of a step's passes, which are also told to which of the `levels` the step leads."""

    levels: tuple[float, ...] = ()

    def velocity(self, predict: Predict, latents: Latents, level: Float[Tensor, "b s"]) -> Latents:
        """The mean velocity from the noise level of the last frame to the next of the levels."""
        following = next_level(self.levels, level[:, -1]).repeat(len(self.weights))
        told = replace(self.caption, added={**self.caption.added, "next_timestep": following})
        return Guided(self.memory, told, self.weights).velocity(predict, latents, level)


def next_level(levels: Sequence[float], level: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The highest of some noise levels that lies below each of these; 0 where none does."""
    known = torch.tensor(sorted({0.0, *levels}), dtype=torch.float32, device=level.device)
    return known[torch.searchsorted(known, level.float() - ROUNDING).sub(1).clamp(min=0)]


def guidance_of(
    distilled: Mapping[str, Sequence[float]] | None,
    levels: Sequence[float],
    *,
    text: float,
    memory: float,
    avoids: bool = False,
) -> Guidance:
    """The guidance of a model by these scales: in passes, or told to one that was distilled.

    Args:
        distilled: what the model was distilled for; None for one that was not.
        levels: the noise levels that the steps lead through, from noise to nothing.
        text: guidance towards the caption.
        memory: guidance towards the memory.
        avoids: whether there is a negative prompt.

    Raises:
        UsageError: a scale is not one of those that the model was distilled for.
    """
    if distilled is None:
        return Guidance(text=text, memory=memory)
    for name, scale in (("guidance_scale", text), ("memory_guidance_scale", memory)):
        low, high = distilled[name]
        if not low <= scale <= high:
            asked = f"the {name.replace('_', ' ')} is {scale:g}"
            wanted = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise UsageError(f"{asked}, and this distilled model was made for {wanted}; give that, or use its teacher")
    warn_of_steps(len(levels) - 1, tuple(int(count) for count in distilled["num_inference_steps"]))
    return EmbeddedGuidance(text=text, memory=memory, levels=tuple(levels), avoids=avoids)


@cache
def warn_of_steps(num_steps: int, made_for: tuple[int, ...]) -> None:
    """Say once that a model makes more or fewer steps than it was distilled for."""
    if num_steps not in made_for:
        *others, last = map(str, made_for)
        wanted = f"{', '.join(others)} or {last}" if others else last
        logging.getLogger(__name__).warning(
            "this distilled model was made for %s steps, not for %d; the video may be worse", wanted, num_steps
        )
