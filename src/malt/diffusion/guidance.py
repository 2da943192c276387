"""Guidance wraps a denoiser: away from no caption, and away from no memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.memory.state import Memory, forget, join

Latents = Float[Tensor, "b s c h w"]
Predict = Callable[[Latents, Float[Tensor, "b s"], Memory, Caption], Latents]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """v = v_empty + w_memory (v_memory - v_empty) + w_text (v_text - v_memory); a weight of 1 costs no pass of its own.

    v_empty sees neither caption nor memory, v_memory sees the memory, v_text sees both (classifier-free guidance,
    arXiv:2207.12598, with one more condition, as in arXiv:2211.09800). With w_text = 1 all passes see the caption: then
    v_memory is v_text, and v_empty lacks only the memory.
    """

    text: float = 1.0
    memory: float = 1.0

    def prepare(self, memory: Memory, caption: Caption, uncaptioned: Caption) -> "Guided":
        """Everything that stays the same while a segment is denoised: conditions of all passes as one batch."""
        memories, captions, weights = [memory], [caption], [self.text]
        if self.text != 1:
            memories, captions = [*memories, memory], [*captions, uncaptioned]
            weights.append(self.memory - self.text)
        if self.memory != 1:
            everything = torch.ones(len(memory[0].valid), dtype=torch.bool, device=memory[0].valid.device)
            memories.append(forget(memory, everything))
            captions.append(uncaptioned if self.text != 1 else caption)
            weights[0] = self.text if self.text != 1 else self.memory
            weights.append(1 - self.memory)
        return Guided(join(memories), Caption.join(captions), tuple(weights))


@dataclass(frozen=True)
class Guided:
    """The conditions of all passes, and the weight of each pass's velocity."""

    memory: Memory
    caption: Caption
    weights: tuple[float, ...]

    def velocity(self, predict: Predict, latents: Latents, level: Float[Tensor, "b s"]) -> Latents:
        """The weighted sum of the velocities of all passes."""
        count = len(self.weights)
        if count == 1:
            return predict(latents, level, self.memory, self.caption)
        all_latents, all_levels = latents.repeat(count, 1, 1, 1, 1), level.repeat(count, 1)
        parts = predict(all_latents, all_levels, self.memory, self.caption).chunk(count)
        weighted = [weight * part for weight, part in zip(self.weights, parts, strict=True)]
        return sum(weighted[1:], start=weighted[0])
