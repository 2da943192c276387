"""What a rollout asks of a network, and the velocity that it makes of it under guidance."""

from functools import partial
from typing import Protocol, runtime_checkable

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from malt.diffusion.guidance import Caption, Guided
from malt.diffusion.partial import FrameVelocity
from malt.memory.state import KVCache, Memory
from malt.models.transformer import TransformerOutput


@runtime_checkable
class Denoiser(Protocol):
    """A network that a rollout can make video with: `MaltTransformer3DModel`, or an adapter around another.

    segment_frames, context_frames: latent frames of a segment, and clean ones before it that it sees beside its memory.
    action_dim: length of a latent frame's action vector, None for a network that takes no actions.
    """

    @property
    def segment_frames(self) -> int: ...  # noqa: D102
    @property
    def context_frames(self) -> int: ...  # noqa: D102
    @property
    def action_dim(self) -> int | None: ...  # noqa: D102
    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        ...

    def empty_memory(self, batch: int, height: int, width: int) -> Memory:
        """A memory in which nothing has been written, for `batch` videos of `height` x `width` latent pixels."""
        ...

    def __call__(
        self,
        latents: Float[Tensor, "b s c h w"],
        timestep: Float[Tensor, "b s"],
        memory: Memory | None,
        encoder_hidden_states: Float[Tensor, "b n e"],
        encoder_attention_mask: Bool[Tensor, "b n"],
        actions: Float[Tensor, "b s a"] | None = None,
        num_context_frames: int = 0,
        cache: KVCache | None = None,
        update_memory: bool = True,
    ) -> TransformerOutput:
        """Velocity, memory and cache, as in `MaltTransformer3DModel.forward`."""
        ...


def guided_velocity(
    network: Denoiser, guided: Guided, actions: Float[Tensor, "b s a"] | None, num_context_frames: int
) -> FrameVelocity:
    """The guided velocity of a segment's latents at the noise levels of their frames.

    Memory and caption stay the same in every step, so their keys and values are made in the first.
    """
    cache: KVCache | None = None

    def predict(latents: Tensor, levels: Tensor, memory: Memory, caption: Caption) -> Tensor:
        nonlocal cache
        acts = None if actions is None else repeat(actions, "b s a -> (k b) s a", k=len(latents) // len(actions))
        made = network(latents, levels, memory, *caption, acts, num_context_frames, cache=cache, update_memory=False)
        cache = made.cache
        return made.velocity.float()

    return partial(guided.velocity, predict)
