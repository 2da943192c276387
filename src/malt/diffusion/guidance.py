"""Guidance wraps a denoiser: away from no caption, and away from no memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.memory.state import Memory, forget, join

ROUNDING = 1e-6  # of a noise level that passes through single precision
Latents = Float[Tensor, "b s c h w"]
Predict = Callable[[Latents, Float[Tensor, "b s"], Memory, Caption], Latents]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """v = v_empty + w_memory (v_memory - v_empty) + w_text (v_text - v_memory); a weight of 1 costs no pass of its own.

    v_empty sees neither caption nor memory, v_memory sees the memory, v_text sees both (classifier-free guidance,
    arXiv:2207.12598, with one more condition, as in arXiv:2211.09800). With w_text = 1 all passes see the caption: then
    v_memory is v_text, and v_empty lacks only the memory. Below the noise level `late_below` the text weighs `late_text`.
    A model that is told its guidance, and weighs no passes for it, was told `told`.
    """

    text: float = 1.0
    memory: float = 1.0
    late_text: float | None = None
    late_below: float = 0.0
    told: float | None = None

    @property
    def scale(self) -> float:
        """How closely the prompt is followed, whichever way."""
        return self.text if self.told is None else self.told

    def prepare(self, memory: Memory, caption: Caption, uncaptioned: Caption) -> "Guided":
        """Everything that stays the same while a segment is denoised: conditions of all passes as one batch."""
        memories, captions = [memory], [caption]
        if self.heeds_text:
            memories, captions = [*memories, memory], [*captions, uncaptioned]
        if self.memory != 1:
            everything = torch.ones(len(memory[0].valid), dtype=torch.bool, device=memory[0].valid.device)
            memories.append(forget(memory, everything))
            captions.append(uncaptioned if self.heeds_text else caption)
        late = None if self.late_text is None else self._weights(self.late_text)
        return Guided(join(memories), Caption.join(captions), self._weights(self.text), late, self.late_below)

    @property
    def heeds_text(self) -> bool:
        """Whether there is a pass without the caption."""
        return self.text != 1 or self.late_text not in (None, 1)

    def _weights(self, text: float) -> tuple[float, ...]:
        """The weight of each pass where the text has this one."""
        if not self.heeds_text:
            return (self.memory, 1 - self.memory) if self.memory != 1 else (text,)
        return (text, self.memory - text) if self.memory == 1 else (text, self.memory - text, 1 - self.memory)


@dataclass(frozen=True)
class Guided:
    """The conditions of all passes, and the weight of each pass's velocity, before and below a noise level."""

    memory: Memory
    caption: Caption
    weights: tuple[float, ...]
    late_weights: tuple[float, ...] | None = None
    late_below: float = 0.0

    def velocity(self, predict: Predict, latents: Latents, level: Float[Tensor, "b s"]) -> Latents:
        """The weighted sum of the velocities of all passes."""
        count = len(self.weights)
        if count == 1:
            return predict(latents, level, self.memory, self.caption)
        all_latents, all_levels = latents.repeat(count, 1, 1, 1, 1), level.repeat(count, 1)
        parts = predict(all_latents, all_levels, self.memory, self.caption).chunk(count)
        is_late = self.late_weights is not None and float(level.max()) < self.late_below - ROUNDING
        weights = self.late_weights if self.late_weights is not None and is_late else self.weights
        weighted = [weight * part for weight, part in zip(weights, parts, strict=True)]
        return sum(weighted[1:], start=weighted[0])
