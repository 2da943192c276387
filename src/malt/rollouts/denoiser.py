"""The velocity that a rollout makes of a model's, under guidance."""

from functools import partial

from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guided
from malt.diffusion.partial import FrameVelocity
from malt.memory.state import KVCache, Memory
from malt.models.video_model import VideoModel


def guided_velocity(
    model: VideoModel, guided: Guided, actions: Float[Tensor, "b s a"] | None, num_context_frames: int
) -> FrameVelocity:
    """The guided velocity of a segment's latents at the noise levels of their frames.

    Memory and caption stay the same in every step, so their keys and values are made in the first.
    """
    cache: KVCache | None = None

    def predict(latents: Tensor, levels: Tensor, memory: Memory, caption: Caption) -> Tensor:
        nonlocal cache
        acts = None if actions is None else repeat(actions, "b s a -> (k b) s a", k=len(latents) // len(actions))
        made = model(
            latents,
            levels,
            memory,
            **caption.arguments,
            actions=acts,
            num_context_frames=num_context_frames,
            cache=cache,
            update_memory=False,
        )
        cache = made.cache
        return made.velocity.float()

    return partial(guided.velocity, predict)
