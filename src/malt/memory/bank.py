"""`bank`: a first-in-first-out bank of encoded tokens, read by attention whose result is added to the hidden state."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from malt.memory.protocol import Conditions, Layout, SegmentRecord, nothing_written, unit_rms
from malt.memory.state import State, concatenate


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """size: tokens in the bank. per_segment: how many of them each segment is encoded to."""

    size: int = 1024
    per_segment: int = 16

    def __post_init__(self) -> None:
        """Refuse a bank that cannot be filled."""
        if min(self.size, self.per_segment) < 1:
            raise ValueError(f"a bank of {self.size} tokens, {self.per_segment} a segment, cannot be; give at least 1")
        if self.size % self.per_segment:
            raise ValueError(
                f"a bank of {self.size} tokens cannot be filled {self.per_segment} at a time; give a multiple"
            )


class BankMemory(nn.Module):
    """A memory encoder compresses each clean segment to `per_segment` tokens; beyond `size` the oldest fall out."""

    def __init__(self, width: int, num_heads: int, config: BankConfig = BankConfig()) -> None:
        super().__init__()
        self.num_heads, self.size = num_heads, config.size
        self.queries = nn.Parameter(torch.randn(config.per_segment, width))
        self.encode_kv = nn.Linear(width, 2 * width, bias=False)
        self.encode_out = nn.Linear(width, width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.nothing = nn.Parameter(torch.zeros(1, 1, width))  # a place to look when nothing stored is of use
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """`size` unwritten places."""
        return nothing_written(self.size, self.queries.shape[1], batch, like)

    def read(self, hidden: Tensor, state: State, conditions: Conditions) -> Tensor:
        """hidden + softmax(q K^T / sqrt(d)) V over what is stored; exactly hidden while nothing is."""
        stored = torch.cat(
            [self.nothing.to(hidden).expand(hidden.shape[0], -1, -1), state.tokens.to(hidden.dtype)], dim=1
        )
        seen = self._attend(self.to_q(unit_rms(hidden)), self.to_kv(stored), F.pad(state.valid, (1, 0), value=True))
        said: Tensor = self.to_out(seen) * state.valid.any(dim=1)[:, None, None].to(hidden.dtype)
        return hidden + said

    def write(self, record: SegmentRecord, state: State) -> State:
        """Append the encoded segment; the oldest tokens fall out."""
        hidden = record.tokens
        queries = self.queries.to(hidden).expand(hidden.shape[0], -1, -1)
        new = unit_rms(self.encode_out(self._attend(queries, self.encode_kv(unit_rms(hidden)), None)))
        tokens = concatenate([state.tokens[:, new.shape[1] :], new.to(state.tokens.dtype)], dim=1)
        valid = torch.cat([state.valid[:, new.shape[1] :], torch.ones_like(state.valid[:, : new.shape[1]])], dim=1)
        return State(tokens, valid)

    def _attend(self, queries: Tensor, keys_values: Tensor, valid: Tensor | None) -> Tensor:
        query, key, value = [
            rearrange(x, "b n (k d) -> b k n d", k=self.num_heads) for x in (queries, *keys_values.chunk(2, dim=-1))
        ]
        mask = None if valid is None else valid[:, None, None, :]
        return rearrange(F.scaled_dot_product_attention(query, key, value, attn_mask=mask), "b k n d -> b n (k d)")
