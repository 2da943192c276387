"""The seam between a block and its memory: what every kind of memory can do."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from malt.memory.state import State

Grid = tuple[int, int, int]  # latent frames, rows and columns of tokens in a segment


@runtime_checkable
class LayerMemory(Protocol):
    """A kind of memory, one module a layer. All of what it knows of a video is in the `State` it is handed.

    joins: whether its tokens stand beside the segment's own as keys and values (they then share its positions
    when `positioned`); otherwise `read` adds what it has to say to the hidden state.
    """

    joins: bool
    positioned: bool

    def empty(self, batch: int, grid: Grid, like: Tensor) -> State:
        """A memory in which nothing has been written, on the device and in the type of `like`."""
        ...

    def read(self, hidden: Float[Tensor, "b n d"], state: State) -> Float[Tensor, "b n d"]:
        """The hidden state with what is remembered added to it; the identity for memories that join."""
        ...

    def write(self, hidden: Float[Tensor, "b n d"], state: State, cells: int) -> State:
        """The memory after a segment whose tokens left the layer as `hidden`; a frame of it is `cells` tokens."""
        ...


def unit_rms(tokens: Tensor) -> Tensor:
    """Scale every token to unit root mean square, so that noise on a memory has one meaning in every layer."""
    return tokens * torch.rsqrt(tokens.float().square().mean(dim=-1, keepdim=True) + 1e-6).to(tokens.dtype)
