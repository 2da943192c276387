"""The model's own segments, from which it learns what its mistakes do (self-forcing; the SDEdit-like start is ours)."""

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from malt.diffusion.flow import interpolate
from malt.memory.state import KVCache, Memory
from malt.models.video_model import VideoModel
from malt.training.objectives.autocast import no_gradients
from malt.training.objectives.objective import SelfForcingConfig
from malt.training.objectives.rng import StepRandom
from malt.training.objectives.segments import SegmentedSequence


class SelfForcing:
    """Which videos of a step are unrolled over the model's own segments, and how these are made.

    All videos are computed and the chosen ones kept, so that every process makes the same passes, of the same sizes.
    """

    def __init__(self, model: VideoModel, config: SelfForcingConfig, rng: StepRandom) -> None:
        self.model, self.config, self.rng = model, config, rng.fork()
        self.which: Bool[Tensor, " b"] = self.rng.uniform() < config.prob

    def segment(
        self, sequence: SegmentedSequence, index: int, seen: Float[Tensor, "b t c h w"], memory: Memory
    ) -> Float[Tensor, "b s c h w"]:
        """Segment `index` as the memory is unrolled over it: the model's own of the chosen videos, the true one of the others."""
        truth = sequence.latents[:, sequence.frames(index)]
        with no_gradients():
            made = self._made(sequence, index, seen, memory)
        return torch.where(self.which[:, None, None, None, None].to(truth.device), made, truth)

    def _made(self, sequence: SegmentedSequence, index: int, seen: Tensor, memory: Memory) -> Tensor:
        """A few Euler steps from the true segment, noised, behind what the model has made and remembers so far."""
        num_steps, context = self.config.num_steps, sequence.context_frames
        noisy, levels = self._start(sequence, index, seen)
        step = levels[:, context:] / num_steps
        actions = sequence.actions_of(index, with_context=True)
        cache: KVCache | None = None
        for number in range(num_steps):
            left = torch.cat([levels[:, :context], levels[:, context:] - number * step], dim=1)
            found = self.model(
                noisy,
                left,
                memory,
                **sequence.caption.arguments,
                actions=actions,
                num_context_frames=context,
                cache=cache,
                update_memory=False,
            )
            cache = found.cache
            made = noisy[:, context:] - step[:, :, None, None, None] * found.velocity[:, context:].float()
            noisy = torch.cat([noisy[:, :context], made], dim=1)
        return noisy[:, context:]

    def _start(self, sequence: SegmentedSequence, index: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Context and noised segment with their levels: the context clean, as in generation, or noise where there is none."""
        clean = sequence.behind(seen, index)
        low, high = self.config.noise_range
        # Two transformers share the levels, and a pass is made by one of them: all videos then have one level.
        drawn = self.rng.uniform() if sequence.boundary is None else self.rng.shared().expand(len(clean))
        level = (low + (high - low) * drawn).to(clean)
        nothing = (sequence.begins & (index == 0)).to(clean)
        levels = torch.cat(
            [
                repeat(nothing, "b -> b s", s=sequence.context_frames),
                repeat(level, "b -> b s", s=sequence.segment_frames),
            ],
            dim=1,
        )
        return interpolate(clean, self.rng.normal(shape=clean.shape[1:]).to(clean), levels), levels
