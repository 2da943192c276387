"""What one block of a frozen base has beside it: a memory, and how its tokens are shown to the block's self-attention."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from malt.memory.protocol import Conditions, ContextMemory, ContextTokens, ResidualMemory, SegmentRecord
from malt.memory.registry import Setting, build_memory
from malt.memory.state import State


class AdapterLayer(nn.Module):
    """One block's memory.

    Attributes:
        memory: of the kind that was asked for, or `none`.
        shown: (2, d), scale less 1 and shift of remembered tokens, for memories that self-attention reads; else None.
    """

    def __init__(
        self, width: int, num_heads: int, kind: str, size: int | None, settings: Mapping[str, Setting] | None
    ) -> None:
        super().__init__()
        given = (None, None) if kind == "none" else (size, settings)
        self.memory = build_memory(kind, width, num_heads, *given)
        self.shown = nn.Parameter(torch.zeros(2, width)) if isinstance(self.memory, ContextMemory) else None

    def context(self, state: State, conditions: Conditions) -> ContextTokens | None:
        """What self-attention is to see of the memory; None for nothing."""
        if not isinstance(self.memory, ContextMemory) or not state.tokens.shape[1]:
            return None
        return self.memory.context(state, conditions)

    def modulated(self, normed: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        """Normalised tokens as self-attention sees them."""
        assert self.shown is not None
        return normed * (1 + self.shown[0]) + self.shown[1]

    def read(self, hidden: Float[Tensor, "b n d"], state: State, conditions: Conditions) -> Float[Tensor, "b n d"]:
        """The hidden state with what is remembered added to it; exactly `hidden` where nothing is."""
        if not isinstance(self.memory, ResidualMemory):
            return hidden
        return self.memory.read(hidden, state, conditions)

    def write(self, hidden: Float[Tensor, "b n d"], state: State, conditions: Conditions) -> State:
        """The memory after a finished segment, whose hidden states these are."""
        return self.memory.write(SegmentRecord(hidden, conditions), state)
