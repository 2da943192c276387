"""The walk: over a video's segments in turn, writing the memory, as generation does."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.flow import interpolate
from malt.memory.regularisation import memory_regularisation
from malt.memory.state import Memory, State, forget, join, without_places
from malt.models.transformer import MaltTransformer3DModel
from malt.training.chance import Chance
from malt.training.no_gradients import no_gradients
from malt.training.objective import Objective
from malt.training.self_forcing import OwnSegments
from malt.training.window import Window


class Walked(NamedTuple):
    """What a walk leaves behind.

    memory: before every segment that is denoised, as one batch (draw, segment, video). seen: the window's frames before the last
    segment as the model knows them. regularisation: of the memory, averaged over the writes that carry gradients; None
    where it was not asked for or nothing was written.
    """

    memory: Memory
    seen: Float[Tensor, "b t c h w"]
    regularisation: Float[Tensor, ""] | None


class Walk:
    """Goes over all segments but the last; only the last `bptt_segments` writes carry gradients."""

    def __init__(self, model: MaltTransformer3DModel, objective: Objective, chance: Chance) -> None:
        self.model, self.objective, self.chance = model, objective, chance
        self.remembers = objective.num_segments > 1 and model.config.memory != "none"
        self.own = OwnSegments(model, objective, chance) if objective.own_share else None

    def over(self, window: Window) -> Walked:
        """Walk over the window. At any time there are the memories that will be needed, and one more."""
        objective, seen = self.objective, window.latents[:, : window.context_frames]
        memory, before, penalties = self._empty(window, 1), [], []
        for index in range(objective.num_segments - 1):
            if index >= objective.first_denoised:
                before.append(memory)
            segment = self._segment(window, index, seen, memory)
            seen = torch.cat([seen, segment], dim=1)
            learned = index >= objective.first_learned_write
            if self.remembers:
                with nullcontext() if learned else no_gradients():
                    memory = self._write(window, index, segment, memory)
            if self.remembers and learned and objective.memory_regularisation:
                penalties.append(memory_regularisation(memory, objective.normalize_memory))
        regularisation = torch.stack(penalties).mean() if penalties else None
        return Walked(self._as_met(window, objective.draws * [*before, memory]), seen, regularisation)

    def _empty(self, window: Window, groups: int) -> Memory:
        """Memories in which nothing is written; with no places to attend to where nothing ever will be."""
        memory = self.model.empty_memory(groups * len(window.latents), *window.latents.shape[-2:])
        return memory if self.remembers else without_places(memory)

    def _segment(self, window: Window, index: int, seen: Tensor, memory: Memory) -> Tensor:
        """A finished segment: the true one, or the model's own."""
        if self.own is None:
            return window.latents[:, window.frames(index)]
        return self.own.segment(window, index, seen, memory)

    def _write(self, window: Window, index: int, segment: Tensor, memory: Memory) -> Memory:
        """The memory after a segment, which is remembered slightly noisy."""
        level = (self.objective.remembered_noise * self.chance.uniform()).to(segment)
        levels = repeat(level, "b -> b s", s=segment.shape[1])
        noisy = interpolate(segment, self.chance.normal(shape=segment.shape[1:]).to(segment), levels)
        actions = window.actions_of(index, with_context=False)
        return self.model(noisy, levels, memory, *window.caption, actions=actions)[1]

    def _as_met(self, window: Window, before: list[Memory]) -> Memory:
        """The memories before the denoised segments as one batch, noisy, and some of them lost."""
        if not self.remembers:
            return self._empty(window, len(before))
        objective, groups, device = self.objective, len(before), window.latents.device
        scale = (objective.memory_noise * self.chance.uniform(groups)).to(device)
        noisy = tuple(self._noisy(state, scale, groups) for state in join(before))
        return forget(noisy, (self.chance.uniform(groups) < objective.memory_dropout).to(device))

    def _noisy(self, state: State, scale: Tensor, groups: int) -> State:
        noise = self.chance.normal(groups, state.tokens.shape[1:]).to(state.tokens)
        return State(state.tokens + scale[:, None, None].to(state.tokens) * noise, state.valid)
