"""What families have in common whose memory is read behind their blocks, by an attention of the adapter's own."""

from typing import Any

import torch
from torch import Tensor

from malt.adapters.family import Tables
from malt.memory.protocol import Layout


class ReadBehind:
    """Such a family needs no processor, no norm and no tables: its self-attention sees nothing of a memory.

    lists: as in `Family`.
    """

    lists: tuple[str, ...] = ("transformer_blocks",)

    def reads_beside(self, base: Any) -> bool:
        """Never."""
        return False

    def width(self, base: Any) -> int:
        """Heads side by side."""
        return int(base.config.num_attention_heads * base.config.attention_head_dim)

    def heads(self, base: Any) -> int:
        """As configured."""
        return int(base.config.num_attention_heads)

    def processors(self, base: Any) -> dict[str, Any]:
        """None: the base's own stay."""
        return {}

    def clean(self, base: Any) -> Tensor:
        """Nothing that any layer would use."""
        return torch.zeros(sum(len(getattr(base, name)) for name in self.lists), 2, self.width(base))

    def norm(self, tokens: Tensor) -> Tensor:
        """Never asked for."""
        raise NotImplementedError

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """Never asked for."""
        raise NotImplementedError
