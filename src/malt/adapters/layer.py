"""What one block of a frozen base has beside it: a memory, and how the block comes to see what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from malt.adapters.added_read import AddedRead
from malt.errors import UsageError
from malt.memory.protocol import Conditions, ContextMemory, ContextTokens, ResidualMemory, SegmentRecord, unit_rms
from malt.memory.registry import Setting, build_memory
from malt.memory.state import KeysValues, State

READS = ("beside", "behind")


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """kind, size, settings: of the memory, as in `build_memory`. width: of what is remembered; None for the base's own.

    read: `beside` the keys and values of self-attention, or by an attention of its own `behind` the block.
    """

    kind: str
    size: int | None = None
    settings: Mapping[str, Setting] | None = None
    width: int | None = None
    read: str = "beside"

    def __post_init__(self) -> None:
        """Refuse a way to read that there is not."""
        if self.read not in READS:
            raise UsageError(f"a memory cannot be read {self.read!r}; choose one of {', '.join(READS)}")


class AdapterLayer(nn.Module):
    """One block's memory.

    Attributes:
        memory: of the kind that was asked for, or `none`.
        narrow, widen: to the memory's width and back, where it is not that of the base. They begin as each other's inverse.
        shown: (2, d), scale less 1 and shift of remembered tokens, for a memory that self-attention reads; else None.
        added: the attention behind the block, for a memory that is read so; else None.
    """

    def __init__(self, width: int, num_heads: int, settings: LayerSettings) -> None:
        super().__init__()
        inner = width if settings.width is None or settings.kind == "none" else settings.width
        heads = _heads(inner, width // num_heads)
        self.memory = build_memory(settings.kind, inner, heads, settings.size, settings.settings)
        joins = isinstance(self.memory, ContextMemory)
        self.added = AddedRead(width, inner, heads) if joins and settings.read == "behind" else None
        self.shown = nn.Parameter(torch.zeros(2, width)) if joins and self.added is None else None
        self.narrow = nn.Linear(width, inner, bias=False) if inner != width else None
        self.widen = nn.Linear(inner, width, bias=False) if inner != width and self.added is None else None
        if self.narrow is not None:
            nn.init.orthogonal_(self.narrow.weight)
        if self.narrow is not None and self.widen is not None:
            self.widen.weight.data.copy_(self.narrow.weight.T)

    def context(self, state: State, conditions: Conditions) -> ContextTokens | None:
        """What there is to attend to; None for nothing."""
        if not isinstance(self.memory, ContextMemory) or not state.tokens.shape[1]:
            return None
        return self.memory.context(state, conditions)

    def as_seen(self, tokens: Float[Tensor, "b m e"]) -> Float[Tensor, "b m d"]:
        """Remembered tokens in the base's width."""
        if self.widen is None:
            return tokens
        wide: Tensor = self.widen(tokens.to(self.widen.weight.dtype))
        return wide

    def modulated(self, normed: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        """Normalised tokens as self-attention sees them."""
        assert self.shown is not None
        return normed * (1 + self.shown[0]) + self.shown[1]

    def read(
        self,
        hidden: Float[Tensor, "b n d"],
        state: State,
        conditions: Conditions,
        known: KeysValues | None = None,
    ) -> Float[Tensor, "b n d"]:
        """The hidden state with what is remembered added to it; exactly `hidden` where nothing is."""
        if known is not None and self.added is not None:
            changed: Tensor = self.added(hidden, known, conditions.layout)
            return changed
        if not isinstance(self.memory, ResidualMemory):
            return hidden
        if self.narrow is None or self.widen is None:
            return self.memory.read(hidden.to(self._dtype(hidden)), state, conditions).to(hidden.dtype)
        narrow = self._narrowed(hidden)
        said: Tensor = self.widen(self.memory.read(narrow, state, conditions) - narrow)
        return hidden + said.to(hidden.dtype)

    def write(self, hidden: Float[Tensor, "b n d"], state: State, conditions: Conditions) -> State:
        """The memory after a finished segment, whose hidden states these are."""
        return self.memory.write(SegmentRecord(self._narrowed(hidden), conditions), state)

    def _narrowed(self, hidden: Tensor) -> Tensor:
        hidden = hidden.to(self._dtype(hidden))
        return hidden if self.narrow is None else self.narrow(unit_rms(hidden))

    def _dtype(self, like: Tensor) -> torch.dtype:
        """That of the weights, which may be finer than the base's; a memory without weights keeps what it is given."""
        weights = (self.narrow or cast(nn.Module, self.memory)).parameters()
        return next((weight.dtype for weight in weights), like.dtype)


def _heads(width: int, head_dim: int) -> int:
    """As many heads of about this width as divide the memory's."""
    return next(heads for heads in range(max(1, width // head_dim), 0, -1) if not width % heads)
