"""The seam between a video model and all that makes, trains or measures with it: ours, and a pretrained one with a memory."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from malt.memory.protocol import LayerMemory
from malt.memory.state import KVCache, Memory
from malt.models.step_conditioning import Distilled


class TransformerOutput(NamedTuple):
    """What a pass gives.

    velocity: of every latent frame. memory: after these frames, or as it was where it was not to be updated. cache: keys
    and values of that memory and of the caption, for the next step of the same segment; None where the memory was updated.
    """

    velocity: Float[Tensor, "b s c h w"]
    memory: Memory
    cache: KVCache | None


@runtime_checkable
class VideoModel(Protocol):
    """A latent video model that predicts velocities and carries a memory: `MaltTransformer3DModel`, or an adapted base.

    segment_frames, context_frames: latent frames of a segment, and clean ones before it that it sees beside its memory.
    patch_size: rows and columns of latent pixels in a token. action_dim: length of a latent frame's action vector, None for
    a model that takes no actions. remembers: whether its memory has room for anything. distilled: what a model of few steps
    was made for; None for one that is guided by passes of its own. boundary: the noise level from which on another of its two
    transformers makes the steps; None for a model that has one.
    """

    @property
    def segment_frames(self) -> int: ...  # noqa: D102
    @property
    def context_frames(self) -> int: ...  # noqa: D102
    @property
    def patch_size(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def action_dim(self) -> int | None: ...  # noqa: D102
    @property
    def remembers(self) -> bool: ...  # noqa: D102
    @property
    def distilled(self) -> Distilled | None: ...  # noqa: D102
    @property
    def boundary(self) -> float | None: ...  # noqa: D102
    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        ...

    def empty_memory(self, batch: int, height: int, width: int) -> Memory:
        """A memory in which nothing has been written, for `batch` videos of `height` x `width` latent pixels."""
        ...

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        """Size of such a memory in bytes, as rollouts keep it, from shapes alone."""
        ...

    def memory_modules(self) -> Iterable[LayerMemory]:
        """The memory of each layer, in the order of a `Memory`'s states."""
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
        added_conditions: Mapping[str, Tensor] | None = None,
    ) -> TransformerOutput:
        """Velocity, memory and cache, as in `MaltTransformer3DModel.forward`.

        `added_conditions` has whatever else a pretrained base is conditioned on, by name, batch first: pooled text, a second
        encoder's states, an image's tokens, known channels, embedded guidance.
        """
        ...


@runtime_checkable
class TwoTransformers(Protocol):
    """What a video model has beyond others whose two transformers share the noise levels, each with a memory of its own."""

    def only(self, memory: Memory, is_high: bool) -> Memory:
        """The same memory with room in that of the one for high noise levels alone, or of the other: it alone is written."""
        ...
