"""The velocity that a rollout makes of a model's, under guidance."""

from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.guidance import ROUNDING, Guided
from malt.memory.state import KVCache, Memory, first_of, select
from malt.models.video_model import VideoModel


class GuidedVelocity:
    """The guided velocity of a segment's latents at the noise levels of their frames.

    Memory and caption stay the same in every step, so their keys and values are made in the first.

    Args:
        model: predicts the velocities.
        guided: the conditions of all passes.
        actions: what is done in every latent frame, for models that take actions.
        num_context_frames: how many of the first frames are context.
        remembers_at: the noise level from which on a pass also writes the memory; None for no pass.
    """

    def __init__(
        self,
        model: VideoModel,
        guided: Guided,
        actions: Float[Tensor, "b s a"] | None,
        num_context_frames: int,
        remembers_at: float | None = None,
    ) -> None:
        self.model, self.guided, self.actions, self.num_context_frames = model, guided, actions, num_context_frames
        self.remembers_at = remembers_at
        self.memory: Memory | None = None  # after the segment, once a pass has written it
        self._cache: KVCache | None = None

    def __call__(self, latents: Float[Tensor, "b s c h w"], levels: Float[Tensor, "b s"]) -> Float[Tensor, "b s c h w"]:
        """The weighted velocity of all passes."""
        return self.guided.velocity(self._predict, latents, levels)

    @property
    def cache(self) -> KVCache | None:
        """What was made of the memory under the caption, for another pass behind the same; None where that counts otherwise."""
        return None if self._cache is None else first_of(self._cache, len(self.guided.weights))

    def _predict(self, latents: Tensor, levels: Tensor, memory: Memory, caption: Caption) -> Tensor:
        acts = self.actions
        writes = self.remembers_at is not None and float(levels[:, -1].max()) <= self.remembers_at + ROUNDING
        made = self.model(
            latents,
            levels,
            memory,
            **caption.arguments,
            actions=None if acts is None else repeat(acts, "b s a -> (k b) s a", k=len(latents) // len(acts)),
            num_context_frames=self.num_context_frames,
            cache=self._cache,
            update_memory=writes,
        )
        if writes:
            self.memory = select(made.memory, slice(len(levels) // len(self.guided.weights)))
        else:
            self._cache = made.cache
        return made.velocity.float()
