"""A stretch of videos that a training step learns from, cut into segments with their contexts."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from malt.diffusion.caption import Caption


@dataclass(frozen=True, kw_only=True)
class SegmentedSequence:
    """Latents of consecutive segments behind a context, and what the model is told of them.

    latents: context first. caption: of each video. begins: which videos begin a
    film here, so that their first context is nothing. actions: of every latent frame, None for a model that takes none.
    anchor_frames: of every context but the first, so many frames are the first ones of all, and not right before the rest.
    boundary: the noise level that all videos of a batch lie on one side of, where two transformers share the levels.
    """

    latents: Float[Tensor, "b s c h w"]
    caption: Caption
    begins: Bool[Tensor, " b"]
    actions: Float[Tensor, "b s a"] | None
    segment_frames: int
    context_frames: int
    anchor_frames: int = 0
    boundary: float | None = None

    def frames(self, index: int) -> slice:
        """The latent frames of a segment."""
        start = index * self.segment_frames + self.context_frames
        return slice(start, start + self.segment_frames)

    def context(self, index: int) -> slice:
        """The latent frames of the context before a segment."""
        start = index * self.segment_frames
        return slice(start, start + self.context_frames)

    def actions_of(self, *indices: int, with_context: bool) -> Float[Tensor, "k_b s a"] | None:
        """What was done during segments, and in the contexts before them where that is asked for: (segment, video)."""
        if self.actions is None:
            return None
        starts = [(self.context(index) if with_context else self.frames(index)).start for index in indices]
        spans = [slice(start, self.frames(index).stop) for start, index in zip(starts, indices, strict=True)]
        return torch.cat([self.actions[:, span] for span in spans])

    def behind(self, seen: Float[Tensor, "b t c h w"], index: int) -> Float[Tensor, "b s c h w"]:
        """A true segment with the context before it taken from `seen`, its frames as the model knows them."""
        anchors = self.anchor_frames if index else 0
        context = seen[:, self.context(index)][:, anchors:]
        return torch.cat([seen[:, :anchors], context, self.latents[:, self.frames(index)]], dim=1)
