"""Passes over one batch of segments at the noise levels of several steps, and a teacher's guidance made of three of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.guidance import ROUNDING
from malt.memory.state import KVCache, Memory, forget, join
from malt.models.step_conditioning import NEXT, SCALES
from malt.models.video_model import VideoModel


class Before(NamedTuple):
    """What a batch of segments is denoised behind: the context's frames, their noise levels, and what is done.

    actions: in the context and in the segment; None for models that take none.
    """

    context: Float[Tensor, "b c c h w"]
    levels: Float[Tensor, "b c"]
    actions: Float[Tensor, "b s a"] | None

    def to(self, dtype: torch.dtype) -> "Before":
        """In another precision; noise levels are exact."""
        return Before(self.context.to(dtype), self.levels, None if self.actions is None else self.actions.to(dtype))

    def repeat(self, count: int) -> "Before":
        """Of `count` such batches, one behind the other."""
        actions = None if self.actions is None else self.actions.repeat(count, 1, 1)
        return Before(self.context.repeat(count, 1, 1, 1, 1), self.levels.repeat(count, 1), actions)


class Scales(NamedTuple):
    """The guidance of every video of a batch."""

    text: Float[Tensor, " b"]
    memory: Float[Tensor, " b"]


class SegmentPasses:
    """Passes by one model behind the same context, memory and caption: keys and values are made in the first."""

    def __init__(self, model: VideoModel, memory: Memory, caption: Caption, before: Before) -> None:
        self.model, self.memory, self.caption, self.before = model, memory, caption, before
        self.cache: KVCache | None = None

    def velocity(
        self, noisy: Float[Tensor, "b n c h w"], level: float, added: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "b n c h w"]:
        """That of the segments' frames, all at one noise level; `added` is what a student's step is told."""
        count = self.before.context.shape[1]
        found = self.model(
            torch.cat([self.before.context, noisy.to(self.before.context)], dim=1),
            torch.cat([self.before.levels, noisy.new_full(noisy.shape[:2], level)], dim=1),
            self.memory,
            **replace(self.caption, added={**self.caption.added, **(added or {})}).arguments,
            actions=self.before.actions,
            num_context_frames=count,
            cache=self.cache,
            update_memory=False,
        )
        self.cache = found.cache
        return found.velocity[:, count:].float()


class StudentPasses:
    """A student's steps over a batch of segments, one pass each."""

    def __init__(self, passes: SegmentPasses, scales: Scales) -> None:
        self.passes, self.scales = passes, scales

    def velocity(self, noisy: Float[Tensor, "b n c h w"], level: float, following: float) -> Float[Tensor, "b n c h w"]:
        """The mean velocity from one noise level to the following; told to a model that was made to be told."""
        if self.passes.model.distilled is None:
            return self.passes.velocity(noisy, level)
        ends = torch.full_like(self.scales.text, following)
        told = dict(zip((NEXT, *SCALES), (ends, *self.scales), strict=True))
        return self.passes.velocity(noisy, level, told)


class TeacherPasses:
    """A teacher's guided velocity over a batch of segments, each video by scales of its own; see `Guidance`.

    A pass whose weight is nothing for every scale that a student was asked for is left out. Where two transformers share the
    noise levels, the second's text may weigh `late_text`. The teacher computes in the
    precision of its weights, whatever autocast says.
    """

    def __init__(
        self,
        model: VideoModel,
        memory: Memory,
        captions: tuple[Caption, Caption],
        before: Before,
        scales: Scales,
        *,
        late_text: float | None = None,
        heeds_text: bool,
        heeds_memory: bool,
    ) -> None:
        dtype = memory[0].tokens.dtype
        caption, uncaptioned = (in_precision(each, dtype) for each in captions)
        other = uncaptioned if heeds_text else caption
        memories, told = [memory], [caption]
        if heeds_text:
            memories, told = [*memories, memory], [*told, other]
        if heeds_memory:
            nothing = torch.ones(len(memory[0].valid), dtype=torch.bool, device=memory[0].valid.device)
            memories, told = [*memories, forget(memory, nothing)], [*told, other]
        self.weights = _weights(scales, heeds_text, heeds_memory)
        late = scales if late_text is None else scales._replace(text=torch.full_like(scales.text, late_text))
        self.late_weights, self.late_below = _weights(late, heeds_text, heeds_memory), model.boundary or 0.0
        count = len(memories)
        self.passes = SegmentPasses(model, join(memories), Caption.join(told), before.to(dtype).repeat(count))

    def velocity(self, noisy: Float[Tensor, "b n c h w"], level: float) -> Float[Tensor, "b n c h w"]:
        """The weighted sum of the velocities of all passes."""
        count = len(self.weights)
        with torch.autocast(noisy.device.type, enabled=False):
            parts = self.passes.velocity(noisy.repeat(count, 1, 1, 1, 1), level).chunk(count)
        weights = self.weights if level >= self.late_below - ROUNDING else self.late_weights
        weighted = [repeat(weight, "b -> b 1 1 1 1") * part for weight, part in zip(weights, parts, strict=True)]
        return torch.stack(weighted).sum(dim=0)


def _weights(scales: Scales, heeds_text: bool, heeds_memory: bool) -> list[Float[Tensor, " b"]]:
    """Those of the passes, which add up to 1."""
    weights = [scales.text, scales.memory - scales.text] if heeds_text else [scales.memory]
    return [*weights, 1 - scales.memory] if heeds_memory else weights


def in_precision(caption: Caption, dtype: torch.dtype) -> Caption:
    """A caption whose states are of this type; which of them count stays what it is."""
    return caption.map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
